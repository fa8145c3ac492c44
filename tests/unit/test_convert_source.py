"""What is refused before anything heavy is imported: damaged, foreign, unsafe and incomplete sources."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lukewarm.convert import api, architectures, hub, open_source, tokenizer
from lukewarm.convert import weights as checks
from lukewarm.convert.job import Job
from lukewarm.predictors.errors import SourceError, UnsafeWeights, UnsupportedError
from lukewarm.predictors.spec import ModelSpec
from support.sources import CONFIG, TOKENIZER, safetensors, weights, with_header, write_source


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_source(tmp_path / "model")


def opened(source: Path) -> Any:
    return open_source(source.name, source.parent, source.parent / "cache")


def read_all(source: Path) -> None:
    checks.check_no_nan(opened(source).tensors)


def test_a_complete_source_is_accepted(source: Path) -> None:
    found = opened(source)
    assert found.architecture == "LlamaForCausalLM"
    assert found.vocab_size == 8
    assert found.max_context_tokens == 64
    assert found.token_ids("eos_token_id") == [2]
    assert found.weights_bytes == 8 * 4 * 4 + 4 * 4
    read_all(source)


GOOD = safetensors(weights())
LENGTH = int.from_bytes(GOOD[:8], "little")
HEADER = json.loads(GOOD[8 : 8 + LENGTH])
DATA = GOOD[8 + LENGTH :]


def changed(change: Callable[[dict[str, Any]], None]) -> bytes:
    header = json.loads(json.dumps(HEADER))
    change(header)
    return with_header(header, DATA)


DAMAGED: dict[str, bytes] = {
    "empty": b"",
    "seven bytes": GOOD[:7],
    "header cut off": GOOD[:40],
    "last byte missing": GOOD[:-1],
    "one byte too many": GOOD + b"x",
    "half": GOOD[: len(GOOD) // 2],
    "a web page": b"<!DOCTYPE html><html>404</html>" * 10,
    "a git-lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    "header of 2^63 bytes": (1 << 63).to_bytes(8, "little") + GOOD[8:],
    "header is not JSON": GOOD[:8] + b"x" + GOOD[9:],
    "header is a list": with_header([], DATA),  # type: ignore[arg-type]
    "nested beyond sense": (lambda raw: len(raw).to_bytes(8, "little") + raw)(b'{"a":' + b"[" * 100_000),
    "unknown type": changed(lambda h: h["model.norm.weight"].update(dtype="Q4_1")),
    "shape too large": changed(lambda h: h["model.norm.weight"].update(shape=[400])),
    "negative shape": changed(lambda h: h["model.norm.weight"].update(shape=[-4])),
    "boolean shape": changed(lambda h: h["model.norm.weight"].update(shape=[True])),
    "overlap": changed(lambda h: h["model.norm.weight"].update(data_offsets=[0, 16])),
    "gap": changed(lambda h: h["model.norm.weight"].update(data_offsets=[132, 148])),
    "ends before it begins": changed(lambda h: h["model.norm.weight"].update(data_offsets=[144, 128])),
    "no offsets": changed(lambda h: h["model.norm.weight"].pop("data_offsets")),
    "no tensors": with_header({}, b""),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_weights_are_refused_by_name(source: Path, name: str) -> None:
    (source / "model.safetensors").write_bytes(DAMAGED[name])
    with pytest.raises(SourceError, match=r"model\.safetensors"):
        read_all(source)


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0, 7 + LENGTH), value=st.integers(0, 255))
def test_no_byte_of_the_header_can_crash_the_reader(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int
) -> None:
    root = write_source(tmp_path_factory.mktemp("flipped"))
    (root / "model.safetensors").write_bytes(GOOD[:place] + bytes([value]) + GOOD[place + 1 :])
    with contextlib.suppress(SourceError):  # refused or accepted; anything else is a fault
        read_all(root)


@pytest.mark.parametrize(
    ("dtype", "bits"),
    [("F32", np.float32("nan").tobytes()), ("F16", np.float16("nan").tobytes()), ("BF16", b"\xc1\x7f"),
     ("F64", np.float64("nan").tobytes())],
)  # fmt: skip
def test_one_nan_is_found_in_every_type(source: Path, dtype: str, bits: bytes) -> None:
    data = np.frombuffer(bytes(len(bits) * 99) + bits, np.dtype(f"u{len(bits)}"))
    (source / "model.safetensors").write_bytes(safetensors({"w": data}, dtype=dtype))
    with pytest.raises(SourceError, match="w holds NaN"):
        read_all(source)


def test_infinity_and_large_numbers_are_not_nan(source: Path) -> None:
    data = np.array([np.inf, -np.inf, 3e38, -0.0], np.float32)
    (source / "model.safetensors").write_bytes(safetensors({"mask": data}))
    read_all(source)


def shard(source: Path, weight_map: dict[str, str], **files: bytes) -> None:
    (source / "model.safetensors").unlink()
    (source / checks.INDEX).write_text(json.dumps({"weight_map": weight_map}))
    for name, data in files.items():
        (source / f"{name}.safetensors").write_bytes(data)


def test_shards_are_checked_against_their_index(source: Path) -> None:
    one, two = (safetensors({name: array}) for name, array in weights().items())
    names = list(weights())
    good = {names[0]: "a.safetensors", names[1]: "b.safetensors"}
    shard(source, good, a=one, b=two)
    assert set(opened(source).tensors) == set(names)
    (source / "b.safetensors").unlink()
    with pytest.raises(SourceError, match=r"lacks 1 of 2 weight files: b\.safetensors"):
        opened(source)
    (source / "b.safetensors").write_bytes(one)
    with pytest.raises(SourceError, match="stands both in"):
        opened(source)
    (source / "b.safetensors").write_bytes(safetensors({"other": np.ones(2, np.float32)}))
    with pytest.raises(SourceError, match=r"does not hold model\.norm\.weight"):
        opened(source)
    (source / checks.INDEX).write_text(json.dumps({"weight_map": {"x": "../../etc/passwd"}}))
    with pytest.raises(SourceError, match="outside the folder"):
        opened(source)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pkl", "last.ckpt"])
def test_pickles_are_refused_and_never_opened(source: Path, name: str) -> None:
    (source / "model.safetensors").unlink()
    (source / name).write_bytes(b"cos\nsystem\n(S'touch /tmp/owned'\ntR.")
    with pytest.raises(UnsafeWeights, match="pickle"):
        opened(source)
    (source / "model.safetensors").write_bytes(GOOD)
    read_all(source)  # safetensors beside it: nothing needs the pickle


def _without_index(root: Path) -> None:
    (root / "model.safetensors").rename(root / "model-00001-of-00002.safetensors")
    (root / "model-00002-of-00002.safetensors").write_bytes(GOOD)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "config.json").unlink(), r"config\.json is missing"),
        (lambda root: (root / "config.json").write_text("{"), "is not JSON"),
        (lambda root: (root / "config.json").write_bytes(b"\xff\xfe"), "is not JSON"),
        (lambda root: (root / "config.json").write_text("[]"), "holds a list"),
        (lambda root: (root / "config.json").write_text('{"architectures": []}'), "names no architecture"),
        (lambda root: (root / "config.json").write_text('{"architectures": [7]}'), "names no architecture"),
        (lambda root: (root / "generation_config.json").write_text("nope"), r"generation_config\.json is not JSON"),
        (lambda root: (root / "model.safetensors").unlink(), r"no model\.safetensors"),
        (lambda root: (root / "model.safetensors").rename(root / "x.safetensors"), "rename it"),
        (_without_index, r"holds parts of a model \(model-00001.* no model\.safetensors\.index\.json.*download it"),
    ],
)
def test_incomplete_sources_say_what_is_missing(source: Path, change: Callable[[Path], object], message: str) -> None:
    change(source)
    with pytest.raises(SourceError, match=message):
        opened(source)


@pytest.mark.parametrize("name", ["auto", "torch.float32", "floaty", ""])
@pytest.mark.parametrize("part", [None, "text_config"])
def test_a_dtype_that_torch_does_not_have(source: Path, name: str, part: str | None) -> None:
    key = "dtype" if part else "torch_dtype"
    write_source(source, **({part: {key: name}} if part else {key: name}))
    with pytest.raises(SourceError, match=rf'config\.json: "{key}": "{name}" is no type .* take it out'):
        opened(source)
    for good in ("float32", "bfloat16", "half", "float8_e4m3fn", None):
        write_source(source, **({part: {key: good}} if part else {key: good}))
        opened(source)


def test_names_that_lead_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SourceError, match="is a file"):
        open_source("file", tmp_path, tmp_path)
    for name in ("absent", "./org/model", "a/b/c"):
        with pytest.raises(SourceError, match="there is no folder"):
            open_source(name, tmp_path, tmp_path)


def test_hub_names() -> None:
    good = ["org/model", "org/model@main", "Qwen/Qwen2.5-0.5B-Instruct", "o/m@refs/pr/1"]
    assert all(hub.is_hub_name(name) for name in good)
    assert not any(hub.is_hub_name(name) for name in ["model", "/org/model", "a/b/c", "org/model;rm", "", "org/"])


def test_the_digest_follows_content_and_forgets_nothing_else(source: Path) -> None:
    before = opened(source).digest
    (source / "README.md").write_text("words")
    assert opened(source).digest == before
    config = source / "config.json"
    config.write_text(config.read_text().replace("64", "65"))
    after = opened(source).digest
    assert after != before
    config.write_text(config.read_text().replace("65", "64"))
    assert opened(source).digest == before


def test_a_damaged_digest_memory_is_made_anew(source: Path) -> None:
    before = opened(source).digest
    memory = source.parent / "cache" / "digests.json"
    assert memory.is_file()
    for text in ("", "[]", "{", '{"' + str(source / "config.json") + '": 7}'):
        memory.write_text(text)
        assert opened(source).digest == before


def test_tokenizers_that_cannot_belong_to_the_model(source: Path) -> None:
    tokenizer.check(opened(source))
    (source / "config.json").write_text(json.dumps({**CONFIG, "vocab_size": 5}))
    with pytest.raises(SourceError, match="does not match the model: it gives token 7"):
        tokenizer.check(opened(source))
    for text in ("{}", '{"model": {"vocab": []}}', '{"model": {"vocab": {"a": "b"}}}', '{"model": 3}'):
        (source / "tokenizer.json").write_text(text)
        with pytest.raises(SourceError, match="tokenizer"):
            tokenizer.check(opened(source))
    (source / "tokenizer.json").unlink()
    with pytest.raises(SourceError, match="has no tokenizer"):
        tokenizer.check(opened(source))


def test_added_tokens_beyond_the_embedding_are_left_to_the_runtime(source: Path) -> None:
    added = [{"id": 8, "content": "<pad>"}]
    (source / "tokenizer.json").write_text(json.dumps({**TOKENIZER, "added_tokens": added}))
    tokenizer.check(opened(source))


@pytest.mark.parametrize(
    ("architecture", "hint"),
    [("MarianMTModel", "text-to-text"), ("BertForMaskedLM", "embeddings"), ("BertModel", "embeddings"),
     ("T5ForConditionalGeneration", "text-to-text"), ("WhisperForConditionalGeneration", "speech-to-text"),
     ("BertForSequenceClassification", "text-classification")],
)  # fmt: skip
def test_models_of_other_tasks_name_the_right_one(source: Path, architecture: str, hint: str) -> None:
    write_source(source, architectures=[architecture])
    with pytest.raises(UnsupportedError, match=f"set task: {hint}"):
        architectures.check_causal(opened(source), "hf")


def test_ct2_says_which_architectures_it_has(source: Path) -> None:
    architectures.check_ct2(opened(source))
    write_source(source, architectures=["Olmo2ForCausalLM"])
    with pytest.raises(UnsupportedError, match="LlamaForCausalLM"):
        architectures.check_ct2(opened(source))


def test_quantized_sources_are_refused(source: Path) -> None:
    write_source(source, quantization_config={"quant_method": "gptq"})
    with pytest.raises(UnsupportedError, match="quantized already \\(gptq\\)"):
        architectures.check_causal(opened(source), "ort")


def test_token_ids_may_be_one_or_many(source: Path) -> None:
    (source / "generation_config.json").write_text('{"eos_token_id": [2, 5]}')
    assert opened(source).token_ids("eos_token_id") == [2, 5]
    (source / "generation_config.json").write_text('{"eos_token_id": "two"}')
    with pytest.raises(SourceError, match="not a token's number"):
        opened(source).token_ids("eos_token_id")


@pytest.mark.parametrize(
    ("where", "text"),
    [("chat_template.jinja", "{{ a }}"), ("chat_template.json", '{"chat_template": "{{ a }}"}'),
     ("tokenizer_config.json", '{"chat_template": "{{ a }}"}'),
     ("tokenizer_config.json", '{"chat_template": [{"name": "x", "template": "no"}, {"name": "default", '
      '"template": "{{ a }}"}]}')],
)  # fmt: skip
def test_chat_templates_are_found_in_every_place(source: Path, where: str, text: str) -> None:
    assert tokenizer.chat_template(source) is None
    (source / where).write_text(text)
    assert tokenizer.chat_template(source) == "{{ a }}"


def test_a_chat_template_that_is_none_is_refused_with_its_line_where_chat_is_served(source: Path) -> None:
    (source / "chat_template.jinja").write_text("{% for m in messages %}\n{{ m.content }}\n{% endfr %}", "utf-8")
    tokenizer.check(opened(source))
    with pytest.raises(SourceError, match=r"chat template cannot be read, line 3: .*endfr.*takes prompts only"):
        tokenizer.check(opened(source), chat=True)


@pytest.mark.parametrize(
    ("name", "advice"),
    [("LlamaForCausalLM", "bnb or ct2 or hf"), ("FutureForCausalLM", "bnb or hf")],
)
def test_advice_leaves_out_backends_that_are_known_to_refuse(source: Path, name: str, advice: str) -> None:
    config = json.loads((source / "config.json").read_text("utf-8")) | {"architectures": [name]}
    (source / "config.json").write_text(json.dumps(config), "utf-8")
    spec = ModelSpec(name="m", source=str(source), backend="ort", precision="fp32")
    job = Job(spec=spec, source=opened(source), out=source, scratch=source, cache=source, progress=lambda *_: None)
    assert str(api._not_convertible(job, ValueError("odd"))).endswith(f"(ValueError: odd); try backend {advice}")


def test_other_formats_and_parts_of_models_say_what_to_do(source: Path, tmp_path: Path) -> None:
    quantized = tmp_path / "other" / "model-q4.gguf"
    quantized.parent.mkdir()
    quantized.write_bytes(b"GGUF")
    for name in (quantized, quantized.parent):
        with pytest.raises(UnsupportedError, match=r"GGUF.*original model's Hugging Face directory"):
            open_source(str(name), tmp_path, tmp_path / "cache")
    (source / "adapter_config.json").write_text('{"base_model_name_or_path": "me/base"}', "utf-8")
    with pytest.raises(UnsupportedError, match=r"adapter .* of me/base.*merge"):
        opened(source)


@pytest.mark.parametrize(
    ("architecture", "words"),
    [
        ("BertForTokenClassification", "no task here .*text-generation, text-to-text, embeddings"),
        ("BertForQuestionAnswering", "no task here"),
        ("BertForMaskedLM", "set task: embeddings"),
        ("T5ForConditionalGeneration", "set task: text-to-text"),
        ("LEDForConditionalGeneration", "set task: text-to-text"),
        ("RobertaForSequenceClassification", "set task: text-classification"),
    ],
)
def test_models_of_other_tasks_are_refused_by_naming_the_task(source: Path, architecture: str, words: str) -> None:
    (source / "config.json").write_text(json.dumps({**CONFIG, "architectures": [architecture]}), "utf-8")
    with pytest.raises(UnsupportedError, match=words):
        architectures.check_causal(opened(source), "ort")


class _Words:
    """A tokenizer whose tokens are a text's pieces under a SentencePiece model, a leading space left out or not."""

    def __init__(self, model: Any, lead: str) -> None:
        self._model, self._lead = model, lead

    def __call__(self, text: str, **_: object) -> Any:
        return SimpleNamespace(input_ids=self._model.encode(text))

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        pieces: list[str] = [self._model.id_to_piece(number) for number in ids]
        return [pieces[0].removeprefix(self._lead), *pieces[1:]]


def test_a_guessed_class_that_cuts_otherwise_than_its_sentencepiece_file(source: Path) -> None:
    import sentencepiece

    (source / "tokenizer.json").unlink()
    path = source / "tokenizer.model"
    made = io.BytesIO()
    lines = [f"a cold start {n}, and the model answers. One, two. A request waits until it is first" for n in range(20)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=made, vocab_size=60, hard_vocab_limit=False, minloglevel=2
    )
    path.write_bytes(made.getvalue())
    model = sentencepiece.SentencePieceProcessor(model_proto=made.getvalue())
    tokenizer.check_pieces(opened(source), _Words(model, ""))
    with pytest.raises(SourceError, match=r'tokenizer\.model and no tokenizer\.json.*"tokenizer_class": "Llama'):
        tokenizer.check_pieces(opened(source), _Words(model, "▁"))
    (source / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
    with pytest.raises(SourceError, match=r"get tokenizer\.json, as the tokenizer's makers saved it"):
        tokenizer.check_pieces(opened(source), _Words(model, "▁"))
    path.write_bytes(b"version https://git-lfs")
    with pytest.raises(SourceError, match="is not a SentencePiece model"):
        tokenizer.check_pieces(opened(source), _Words(model, ""))
