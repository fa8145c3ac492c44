"""Classes that CTranslate2 cannot read from transformers 5 by itself: converted, with the same greedy text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lukewarm.convert import convert_model
from lukewarm.convert.ct2_model import name_unknown_token
from lukewarm.predictors import Runtime, load_predictor
from lukewarm.predictors.errors import UnsupportedError
from lukewarm.predictors.spec import ModelSpec
from support.text_generation import answers, asked, generated
from support.tiny_models import prompts, tiny_model


def _spec(source: Path) -> ModelSpec:
    return ModelSpec(name="tiny", source=str(source), backend="ct2", precision="fp32")


@pytest.mark.models
@pytest.mark.parametrize("architecture", ["gpt_neox", "phi"])
def test_greedy_text_is_that_of_transformers(architecture: str, tmp_path: Path) -> None:
    bundle = convert_model(_spec(tiny_model(architecture)), tmp_path, tmp_path)
    model = load_predictor(bundle, Runtime(threads=1, device="cpu"))
    texts = prompts(8)
    expected = [generated(architecture, text) for text in texts]
    assert [result.text for result in answers(model, [asked(text) for text in texts])] == expected
    assert len(set(expected)) > len(texts) / 2, "the model says the same to everything: no test"


@pytest.mark.models
def test_a_rotary_base_that_ctranslate2_lacks_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for path in tiny_model("gpt_neox").iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    config = json.loads((source / "config.json").read_text())
    config["rope_parameters"]["rope_theta"] = 500_000.0
    (source / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedError, match=r"rotary base of 500000 .*ort or hf"):
        convert_model(_spec(source), tmp_path / "bundles", tmp_path)
    assert not list((tmp_path / "bundles").glob("*/bundle.json"))


def test_a_missing_unknown_token_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>", "unk_token": None}))
    name_unknown_token(tmp_path)
    assert json.loads(path.read_text())["unk_token"] == "</s>"
    path.write_text(json.dumps({"eos_token": "</s>", "unk_token": "<unk>"}))
    name_unknown_token(tmp_path)
    assert json.loads(path.read_text())["unk_token"] == "<unk>"
