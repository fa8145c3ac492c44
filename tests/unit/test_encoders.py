"""Pooling, normalisation, scores, batches by length, and the files that say which."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from lukewarm.convert.embeddings.modules import options as pooling_options
from lukewarm.convert.source import Source
from lukewarm.convert.text_classification import label_options
from lukewarm.predictors.embeddings import normalize, pad, pool
from lukewarm.predictors.encoding import BATCH_TOKENS, batches
from lukewarm.predictors.errors import SourceError, UnsupportedError
from lukewarm.predictors.text_classification import apply, best

HIDDEN = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
HIDDEN[1, 2:] = 1e6  # padding: nothing may look at it
MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0]])


@pytest.mark.parametrize(
    ("mode", "second"),
    [
        ("cls", [12, 13, 14]),
        ("mean", [13.5, 14.5, 15.5]),
        ("max", [15, 16, 17]),
        ("mean_sqrt_len", [27 / math.sqrt(2), 29 / math.sqrt(2), 31 / math.sqrt(2)]),
        ("weightedmean", [14, 15, 16]),
        ("lasttoken", [15, 16, 17]),
    ],
)
def test_pooling_leaves_padding_out(mode: str, second: list[float]) -> None:
    assert np.allclose(pool(HIDDEN, MASK, [mode])[1], second)
    alone = pool(HIDDEN[1:, :2], MASK[1:, :2], [mode])
    assert np.allclose(alone[0], second)


def test_several_poolings_are_joined_in_order() -> None:
    joined = pool(HIDDEN, MASK, ["cls", "mean"])
    assert joined.shape == (2, 6)
    assert np.allclose(joined[:, :3], pool(HIDDEN, MASK, ["cls"]))


def test_normalize_and_pad() -> None:
    assert np.allclose(normalize(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)), [[0.6, 0.8], [0, 0]])
    ids, mask = pad([[5, 6], [7]], 1)
    assert ids.tolist() == [[5, 6], [7, 1]]
    assert mask.tolist() == [[1, 1], [1, 0]]


def test_batches_are_of_like_length_and_bounded() -> None:
    rows = [[0] * length for length in (9000, 3, 9000, 5, 2)]
    found = list(batches(rows))
    assert found[0][:3] == [4, 1, 3]
    assert sorted(index for batch in found for index in batch) == list(range(5))
    assert all(len(batch) * max(len(rows[index]) for index in batch) <= BATCH_TOKENS for batch in found)
    assert list(batches([])) == []


def test_scores_are_stable_far_from_zero() -> None:
    logits = np.array([[1000.0, 999.0, -1000.0]], np.float32)
    assert np.allclose(apply("softmax", logits).sum(), 1)
    assert apply("sigmoid", logits)[0].tolist() == [1.0, 1.0, 0.0]
    assert math.isclose(float(apply("sigmoid", np.array([[-1.0]], np.float32))[0, 0]), 1 / (1 + math.e), rel_tol=1e-6)
    assert apply("none", logits) is logits
    assert [label.label for label in best(["a", "b", "c"], [0.2, 0.7, 0.2], 2)] == ["b", "a"]


def _source(root: Path, **config: object) -> Source:
    return Source("x", root, {"architectures": ["BertModel"], **config}, {}, "0")


def test_pooling_as_the_models_files_say(tmp_path: Path) -> None:
    assert pooling_options(_source(tmp_path)) == {"pooling": ["mean"], "normalize": False}
    modules = [{"type": "sentence_transformers.models.Transformer", "path": ""},
               {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
               {"type": "sentence_transformers.models.Normalize", "path": "2_Normalize"}]  # fmt: skip
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "1_Pooling").mkdir()
    pooling = tmp_path / "1_Pooling" / "config.json"
    pooling.write_text('{"pooling_mode_cls_token": true, "pooling_mode_max_tokens": true}')
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 256}')
    wanted = {"pooling": ["cls", "max"], "normalize": True, "max_tokens": 256}
    assert pooling_options(_source(tmp_path)) == wanted
    pooling.write_text('{"pooling_mode": "lasttoken"}')
    assert pooling_options(_source(tmp_path))["pooling"] == ["lasttoken"]
    pooling.write_text("{}")
    with pytest.raises(SourceError, match="no pooling mode"):
        pooling_options(_source(tmp_path))
    (tmp_path / "modules.json").write_text(json.dumps([*modules, {"type": "x.Dense", "path": "3_Dense"}]))
    with pytest.raises(UnsupportedError, match="Dense"):
        pooling_options(_source(tmp_path))
    (tmp_path / "modules.json").write_text("[{]")
    with pytest.raises(SourceError, match="damaged"):
        pooling_options(_source(tmp_path))


def test_labels_and_function_as_transformers_chooses(tmp_path: Path) -> None:
    two = {"id2label": {"0": "no", "1": "yes"}}
    assert label_options(_source(tmp_path, **two)) == {"labels": ["no", "yes"], "function": "softmax"}
    multi = label_options(_source(tmp_path, **two, problem_type="multi_label_classification"))
    assert multi["function"] == "sigmoid"
    assert label_options(_source(tmp_path, id2label={"0": "x"}))["function"] == "sigmoid"
    assert label_options(_source(tmp_path, id2label={"0": "x"}, problem_type="regression"))["function"] == "none"
    assert label_options(_source(tmp_path, num_labels=2))["labels"] == ["LABEL_0", "LABEL_1"]
    with pytest.raises(SourceError, match="no label"):
        label_options(_source(tmp_path, id2label={"1": "yes"}))
