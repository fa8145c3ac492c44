"""Tiny random models of every task but text generation, with real tokenizers, each made in about a second."""

from __future__ import annotations

import functools
import io
import json
import struct
from pathlib import Path
from typing import Any

from support.tiny_models import PROMPT_WORDS, VOCAB_SIZE, _corpus, byte_level_tokenizer, session_root

_SMALL: dict[str, Any] = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "dropout": 0.0,
                          "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 64,
                          "decoder_ffn_dim": 64, "max_position_embeddings": 256, "init_std": 0.4}  # fmt: skip
SENTENCES = ["the model answers a request", "a cold start", "naïve café déjà vu – 東京 🙂 numbers 0 1 2 3 42", "x"]


def _save(model: Any, name: str, **generation: Any) -> Path:
    import torch
    import transformers

    target = session_root() / name
    # an untrained decoder with tied embeddings says its last word again for ever: mix the last layer's channels
    for label, parameter in model.named_parameters():
        if "decoder" in label and label.endswith("norm.weight"):
            parameter.data.mul_(torch.randn(parameter.shape))
    if generation:
        model.generation_config = transformers.GenerationConfig(**generation)
    model.eval().save_pretrained(target)
    return target


def _byte_level(
    target: Path, *, start: str = "", end: str = "", pad: str = "<|im_end|>", more: tuple[str, ...] = (),
    types: bool = False,
) -> None:  # fmt: skip
    """The session's BPE; `start` and `end` are added around every text, `more` are special tokens from 512 on.

    `types`: models get token types, as BERT's own tokenizer says.
    """
    import transformers
    from tokenizers import Tokenizer, processors

    core = Tokenizer.from_str(byte_level_tokenizer().to_str())
    core.add_special_tokens(list(more))
    special = [(token, core.token_to_id(token)) for token in {start, end} if token]
    core.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}".strip(), pair=" ".join(f"{start} $A {end} $B:1 {end and end + ':1'}".split()),
        special_tokens=special,
    )  # fmt: skip
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<|endoftext|>", eos_token="<|im_end|>", unk_token="<|endoftext|>",
        pad_token=pad, model_input_names=["input_ids", *(["token_type_ids"] if types else []), "attention_mask"],
    ).save_pretrained(target)  # fmt: skip


@functools.cache
def marian(seed: int = 0) -> Path:
    """A MarianMTModel with SentencePiece files whose source and target pieces differ."""
    import sentencepiece
    import torch
    import transformers

    torch.manual_seed(seed)
    folder = session_root()
    corpora = {"source": _corpus()[:2], "target": [" ".join(PROMPT_WORDS[::-1])] * 40 + _corpus()[2:3]}
    pieces: dict[str, int] = {"</s>": 0, "<unk>": 1}
    for side, texts in corpora.items():
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(line for text in texts for line in text.splitlines() if line.strip()),
            model_writer=model, vocab_size=180, model_type="unigram", character_coverage=0.98, eos_id=0, unk_id=1,
            bos_id=-1, hard_vocab_limit=False, minloglevel=2,
        )  # fmt: skip
        (folder / f"{side}.spm").write_bytes(model.getvalue())
        made = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
        for index in range(made.vocab_size()):
            # a few of the model's own pieces have no number, as in real models
            if index % 37:
                pieces.setdefault(made.id_to_piece(index), len(pieces))
    pad = pieces["<pad>"] = len(pieces)
    config = transformers.MarianConfig(
        **_SMALL, vocab_size=pad + 1, decoder_vocab_size=pad + 1, pad_token_id=pad, eos_token_id=0, bos_token_id=None,
        forced_eos_token_id=0, decoder_start_token_id=pad, scale_embedding=True, attention_dropout=0.0,
        activation_function="relu",
    )  # fmt: skip
    target = _save(
        transformers.MarianMTModel(config), f"marian-{seed}", decoder_start_token_id=pad, eos_token_id=0,
        pad_token_id=pad, bad_words_ids=[[pad]], forced_eos_token_id=0, max_length=64,
    )  # fmt: skip
    (target / "vocab.json").write_text(json.dumps(pieces), "utf-8")
    for side in corpora:
        (target / f"{side}.spm").write_bytes((folder / f"{side}.spm").read_bytes())
    (target / "tokenizer_config.json").write_text('{"tokenizer_class": "MarianTokenizer", "source_lang": "a"}', "utf-8")
    return target


@functools.cache
def bart() -> Path:
    """BART with summarisation's rules: forced first token, minimal length, no repeated n-grams."""
    import torch
    import transformers

    torch.manual_seed(1)
    config = transformers.BartConfig(
        **_SMALL, vocab_size=VOCAB_SIZE, pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2,
        forced_bos_token_id=0, forced_eos_token_id=2,
    )  # fmt: skip
    target = _save(
        transformers.BartForConditionalGeneration(config), "bart", decoder_start_token_id=2, eos_token_id=2,
        bos_token_id=0, pad_token_id=1, forced_bos_token_id=0, forced_eos_token_id=2, no_repeat_ngram_size=2,
        min_length=4, max_length=40,
    )  # fmt: skip
    _byte_level(target, start="<|endoftext|>", end="<|im_end|>", pad="<|im_start|>")
    return target


@functools.cache
def t5() -> Path:
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=VOCAB_SIZE, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, eos_token_id=2, pad_token_id=1,
        decoder_start_token_id=1, dropout_rate=0.0, initializer_factor=3.0, n_positions=256,
    )  # fmt: skip
    target = _save(
        transformers.T5ForConditionalGeneration(config), "t5", decoder_start_token_id=1, eos_token_id=2, pad_token_id=1
    )
    _byte_level(target, end="<|im_end|>", pad="<|im_start|>")
    return target


@functools.cache
def encoder(kind: str = "bert", head: str = "Model", **pooling: bool) -> Path:
    """An encoder of one type with a head: `Model` for embeddings, `ForSequenceClassification`."""
    import torch
    import transformers

    torch.manual_seed(0)
    shape = {"vocab_size": VOCAB_SIZE, "max_position_embeddings": 130, "pad_token_id": 1, "initializer_range": 0.2}
    if kind == "distilbert":
        config: Any = transformers.DistilBertConfig(**shape, dim=32, n_layers=2, n_heads=4, hidden_dim=64)
    else:
        name = {"bert": "BertConfig", "roberta": "RobertaConfig", "mpnet": "MPNetConfig"}[kind]
        config = getattr(transformers, name)(
            **shape, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64
        )
    config.num_labels = 3
    config.id2label = {0: "cold", 1: "warm", 2: "hot"}
    auto = {"Model": "AutoModel", "ForSequenceClassification": "AutoModelForSequenceClassification"}[head]
    name = "-".join((kind, head, *sorted(pooling)))
    target = _save(getattr(transformers, auto).from_config(config), name)
    _byte_level(target, start="<|endoftext|>", end="<|im_end|>", pad="<|im_start|>", types=kind == "bert")
    if pooling:
        modules = ["Transformer", "Pooling", "Normalize"]
        places = ["", "1_Pooling", "2_Normalize"]
        entries = [
            {"type": f"sentence_transformers.models.{m}", "path": p} for m, p in zip(modules, places, strict=True)
        ]
        (target / "modules.json").write_text(json.dumps(entries), "utf-8")
        (target / "1_Pooling").mkdir(exist_ok=True)
        (target / "1_Pooling" / "config.json").write_text(json.dumps(pooling), "utf-8")
        (target / "sentence_bert_config.json").write_text('{"max_seq_length": 60}', "utf-8")
    return target


WHISPER_TOKENS = ("<|startoftranscript|>", "<|en|>", "<|pt|>", "<|transcribe|>", "<|translate|>", "<|nospeech|>",
                  "<|notimestamps|>")  # fmt: skip  # 512 to 518


@functools.cache
def whisper(language: str | None = None) -> Path:
    """Whisper with two languages, heard or set; its sound is 2 s long at most."""
    import torch
    import transformers

    torch.manual_seed(0)
    small = {key: value for key, value in _SMALL.items() if key != "max_position_embeddings"}
    config = transformers.WhisperConfig(
        **small, vocab_size=VOCAB_SIZE + len(WHISPER_TOKENS), num_mel_bins=16, max_source_positions=100,
        max_target_positions=48, pad_token_id=2, bos_token_id=0, eos_token_id=2, decoder_start_token_id=512,
        suppress_tokens=[7, 9],
        begin_suppress_tokens=[220, 2],
    )  # fmt: skip
    target = _save(
        transformers.WhisperForConditionalGeneration(config), f"whisper-{language}", decoder_start_token_id=512,
        eos_token_id=2, pad_token_id=2, bos_token_id=0, max_length=40, suppress_tokens=[7, 9],
        begin_suppress_tokens=[220, 2],
    )  # fmt: skip
    _byte_level(target, more=WHISPER_TOKENS)
    sound = {"feature_extractor_type": "WhisperFeatureExtractor", "sampling_rate": 16000, "n_fft": 400,
             "hop_length": 160, "chunk_length": 2, "feature_size": 16}  # fmt: skip
    (target / "preprocessor_config.json").write_text(json.dumps(sound), "utf-8")
    path = target / "generation_config.json"
    more = {"lang_to_id": {"<|en|>": 513, "<|pt|>": 514}, "task_to_id": {"transcribe": 515, "translate": 516},
            "no_timestamps_token_id": 518, "is_multilingual": True, "language": language}  # fmt: skip
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | more), "utf-8")
    return target


@functools.cache
def vision() -> Path:
    """ViT and GPT-2 joined: a captioner of 32 x 32 pixels."""
    import torch
    import transformers

    torch.manual_seed(0)
    eye = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, image_size=32, patch_size=8
    )
    voice = transformers.GPT2Config(
        vocab_size=VOCAB_SIZE, n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.4, bos_token_id=0,
        eos_token_id=2, add_cross_attention=True, is_decoder=True,
    )  # fmt: skip
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(eye, voice)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 0, 2, 2
    target = _save(
        transformers.VisionEncoderDecoderModel(config), "vision", decoder_start_token_id=0, eos_token_id=2,
        pad_token_id=2, max_length=32,
    )  # fmt: skip
    _byte_level(target)
    picture = {"do_resize": True, "size": {"height": 32, "width": 32}, "resample": 2, "do_rescale": True,
               "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.5, 0.4, 0.3],
               "image_std": [0.5, 0.6, 0.7], "image_processor_type": "ViTImageProcessor"}  # fmt: skip
    (target / "preprocessor_config.json").write_text(json.dumps(picture), "utf-8")
    return target


def wav(samples: Any, rate: int = 16_000) -> bytes:
    """16-bit PCM of samples in -1 to 1."""
    import numpy as np

    data = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
    header = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, rate * 2, 2, 16)
    return (
        b"RIFF"
        + struct.pack("<I", 20 + len(header) + len(data))
        + b"WAVE"
        + header
        + struct.pack("<4sI", b"data", len(data))
        + data
    )


def png(seed: int = 0, size: tuple[int, int] = (48, 40)) -> bytes:
    """A picture of random colours."""
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()
