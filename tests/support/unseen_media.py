"""Tiny random models that read images and sounds, of many families, in the layouts that people have: for the sweep."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.tiny_models import VOCAB_SIZE, session_root
from support.tiny_tasks import WHISPER_TOKENS, _byte_level, _save

_EYE: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "image_size": 32,
    "patch_size": 8, "initializer_range": 0.2,
}  # fmt: skip
_SWIN = {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4}
_BERT = {
    "vocab_size": VOCAB_SIZE, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 64, "max_position_embeddings": 70, "pad_token_id": 1, "is_decoder": True,
    "add_cross_attention": True, "initializer_range": 0.4,
}  # fmt: skip
_SMALL: dict[str, Any] = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "dropout": 0.0, "init_std": 0.4,
}  # fmt: skip
_MBART = {**_SMALL, "vocab_size": VOCAB_SIZE, "max_position_embeddings": 70, "is_decoder": True,
          "add_cross_attention": True, "scale_embedding": True}  # fmt: skip
EYES: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("ViTConfig", _EYE),
    "deit": ("DeiTConfig", _EYE),
    "beit": ("BeitConfig", {**_EYE, "use_relative_position_bias": True}),
    "swin": ("SwinConfig", _SWIN),
    "donut": ("DonutSwinConfig", {**_SWIN, "image_size": [32, 48]}),
}
VOICES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2Config", {"vocab_size": VOCAB_SIZE, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64,
                            "initializer_range": 0.4, "add_cross_attention": True, "is_decoder": True}),
    "bert": ("BertConfig", _BERT),
    "roberta": ("RobertaConfig", _BERT),
    "trocr": ("TrOCRConfig", {"vocab_size": VOCAB_SIZE, "d_model": 32, "decoder_layers": 2, "dropout": 0.0,
                              "decoder_attention_heads": 4, "decoder_ffn_dim": 64, "max_position_embeddings": 70,
                              "init_std": 0.4}),
    "mbart": ("MBartConfig", _MBART),
}  # fmt: skip
PAIRS = (("vit", "gpt2"), ("vit", "bert"), ("deit", "trocr"), ("beit", "trocr"), ("swin", "gpt2"), ("donut", "mbart"),
         ("vit", "roberta"))  # fmt: skip
_PICTURE: dict[str, Any] = {
    "do_resize": True, "size": {"height": 32, "width": 32}, "resample": 2, "do_rescale": True,
    "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.6, 0.7],
}  # fmt: skip


def _picture(target: Path, kind: str, **more: Any) -> None:
    config = {**_PICTURE, "image_processor_type": kind, **more}
    (target / "preprocessor_config.json").write_text(json.dumps(config), "utf-8")


def pair(eye: str, voice: str) -> Path:
    """A VisionEncoderDecoderModel of these two halves; Donut's with its own way to fit a page."""
    import torch
    import transformers

    torch.manual_seed(0)
    (eye_class, eye_config), (voice_class, voice_config) = EYES[eye], VOICES[voice]
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        getattr(transformers, eye_class)(**eye_config), getattr(transformers, voice_class)(**voice_config)
    )
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 0, 1, 2
    target = _save(
        transformers.VisionEncoderDecoderModel(config), f"pair-{eye}-{voice}", decoder_start_token_id=0,
        eos_token_id=2, pad_token_id=1, max_length=32,
    )  # fmt: skip
    _byte_level(target)
    if eye == "donut":
        _picture(target, "DonutImageProcessor", size={"height": 32, "width": 48}, do_thumbnail=True, do_pad=True,
                 do_align_long_axis=True)  # fmt: skip
    else:
        _picture(target, {"beit": "BeitImageProcessor", "deit": "DeiTImageProcessor"}.get(eye, "ViTImageProcessor"),
                 **({"do_center_crop": False} if eye in ("beit", "deit") else {}))  # fmt: skip
    return target


def blip() -> Path:
    """BLIP's captioner."""
    import torch
    import transformers

    torch.manual_seed(0)
    words = {**_BERT, "bos_token_id": 0, "eos_token_id": 2, "sep_token_id": 2, "encoder_hidden_size": 32}
    words.pop("add_cross_attention")
    config = transformers.BlipConfig(text_config=words, vision_config=_EYE, projection_dim=32)
    target = _save(transformers.BlipForConditionalGeneration(config), "blip")
    _byte_level(target)
    _picture(target, "BlipImageProcessor", resample=3)
    return target


def git() -> Path:
    """GIT: a decoder that reads the image before its words."""
    import torch
    import transformers

    torch.manual_seed(0)
    words = {key: value for key, value in _BERT.items() if key not in ("is_decoder", "add_cross_attention")}
    eye = {key: value for key, value in _EYE.items() if key != "initializer_range"}
    config = transformers.GitConfig(
        **{**words, "max_position_embeddings": 128}, vision_config=eye, bos_token_id=0, eos_token_id=2
    )
    target = _save(transformers.GitForCausalLM(config), "git", bos_token_id=0, eos_token_id=2, pad_token_id=1)
    _byte_level(target)
    _picture(target, "CLIPImageProcessor", size={"shortest_edge": 32}, resample=3, do_center_crop=True,
             crop_size={"height": 32, "width": 32})  # fmt: skip
    return target


def pix2struct() -> Path:
    """Pix2Struct: patches of any page, a T5-like decoder."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.Pix2StructConfig(
        text_config={"vocab_size": VOCAB_SIZE, "hidden_size": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2,
                     "num_heads": 4, "decoder_start_token_id": 1, "pad_token_id": 1, "eos_token_id": 2,
                     "initializer_factor": 3.0},
        vision_config={"hidden_size": 32, "d_ff": 64, "d_kv": 8, "num_hidden_layers": 2, "num_attention_heads": 4,
                       "patch_embed_hidden_size": 768, "seq_len": 64},
    )  # fmt: skip
    target = _save(
        transformers.Pix2StructForConditionalGeneration(config), "pix2struct", decoder_start_token_id=1,
        eos_token_id=2, pad_token_id=1, max_length=32,
    )  # fmt: skip
    _byte_level(target)
    config = {"image_processor_type": "Pix2StructImageProcessor", "processor_class": "Pix2StructProcessor",
              "do_convert_rgb": True, "do_normalize": True, "is_vqa": False, "max_patches": 64,
              "patch_size": {"height": 16, "width": 16}}  # fmt: skip
    (target / "preprocessor_config.json").write_text(json.dumps(config), "utf-8")
    return target


IMAGES: dict[str, Callable[[], Path]] = {
    **{f"{eye}-{voice}": (lambda eye=eye, voice=voice: pair(eye, voice)) for eye, voice in PAIRS},
    "blip": blip, "git": git, "pix2struct": pix2struct,
}  # fmt: skip
_HEARING: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "conv_dim": [16, 16, 16], "conv_stride": [5, 4, 4], "conv_kernel": [10, 8, 4], "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2, "vocab_size": 32, "pad_token_id": 0,
    "initializer_range": 0.4, "hidden_dropout": 0.0, "layerdrop": 0.0,
}  # fmt: skip
_LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
CTC: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec2": ("Wav2Vec2Config", _HEARING),
    "wav2vec2-large": ("Wav2Vec2Config", {**_HEARING, **_LARGE}),
    "hubert": ("HubertConfig", _HEARING),
    "wavlm": ("WavLMConfig", _HEARING),
    "data2vec": ("Data2VecAudioConfig", {**_HEARING, "num_conv_pos_embeddings": 2}),
    "unispeech": ("UniSpeechConfig", _HEARING),
    "unispeech-sat": ("UniSpeechSatConfig", _HEARING),
    "sew": ("SEWConfig", {**_HEARING, "squeeze_factor": 2}),
    "conformer": ("Wav2Vec2ConformerConfig", _HEARING),
}
LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"]


def ctc(kind: str) -> Path:
    """A model that writes a letter per place of the sound, with wav2vec2's vocabulary."""
    import torch
    import transformers

    torch.manual_seed(0)
    name, shape = CTC[kind]
    config = getattr(transformers, name)(**shape)
    model = transformers.AutoModelForCTC.from_config(config).eval()
    model.lm_head.weight.data.mul_(20)
    target = session_root() / f"ctc-{kind}"
    model.save_pretrained(target)
    (target / "vocab.json").write_text(json.dumps({letter: place for place, letter in enumerate(LETTERS)}), "utf-8")
    words = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>",
             "word_delimiter_token": "|", "do_lower_case": False,
             "tokenizer_class": "Wav2Vec2CTCTokenizer"}  # fmt: skip
    (target / "tokenizer_config.json").write_text(json.dumps(words), "utf-8")
    sound = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "feature_size": 1, "sampling_rate": 16000,
             "padding_value": 0.0, "do_normalize": True, "return_attention_mask": "large" in kind}  # fmt: skip
    (target / "preprocessor_config.json").write_text(json.dumps(sound), "utf-8")
    return target


def moonshine() -> Path:
    """Moonshine: an encoder-decoder over the raw sound."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.MoonshineConfig(
        vocab_size=VOCAB_SIZE, hidden_size=32, intermediate_size=64, encoder_num_hidden_layers=2,
        decoder_num_hidden_layers=2, encoder_num_attention_heads=4, decoder_num_attention_heads=4,
        max_position_embeddings=70, decoder_start_token_id=0, bos_token_id=0, eos_token_id=2, pad_token_id=2,
        initializer_range=0.4,
    )  # fmt: skip
    target = _save(
        transformers.MoonshineForConditionalGeneration(config), "moonshine", decoder_start_token_id=0, eos_token_id=2,
        pad_token_id=2, bos_token_id=0, max_length=40,
    )  # fmt: skip
    _byte_level(target)
    sound = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "feature_size": 1, "sampling_rate": 16000,
             "padding_value": 0.0, "do_normalize": False, "return_attention_mask": True}  # fmt: skip
    (target / "preprocessor_config.json").write_text(json.dumps(sound), "utf-8")
    return target


WHISPERS: dict[str, dict[str, Any]] = {
    "en": {"languages": False},
    "128-bins": {"num_mel_bins": 128},  # large-v3's
    "distilled": {"decoder_layers": 1, "num_mel_bins": 80},
    "times": {},
}
_TIMES = 101  # 0.00 to 2.00 in steps of 0.02
_ENDED = "<|ended|>"  # 512: above the words, as in OpenAI's vocabulary, and below what Whisper is told


def whisper(kind: str) -> Path:
    """A Whisper of one of these shapes, with times; its sound is 2 s long at most."""
    import torch
    import transformers

    torch.manual_seed(3)
    more = dict(WHISPERS[kind])
    several = more.pop("languages", True)
    special = (_ENDED, *WHISPER_TOKENS)
    number = {token: VOCAB_SIZE + place for place, token in enumerate(special)}
    end, start = number[_ENDED], number["<|startoftranscript|>"]
    config = transformers.WhisperConfig(
        **{**_SMALL, "vocab_size": VOCAB_SIZE + len(special) + _TIMES, "num_mel_bins": 16,
           "max_source_positions": 100, "max_target_positions": 48, "pad_token_id": end, "bos_token_id": end,
           "eos_token_id": end, "decoder_start_token_id": start, **more},
    )  # fmt: skip
    target = _save(
        transformers.WhisperForConditionalGeneration(config), f"unseen-whisper-{kind}", decoder_start_token_id=start,
        eos_token_id=end, pad_token_id=end, bos_token_id=end, max_length=40, suppress_tokens=[7, 9],
        begin_suppress_tokens=[220, end],
    )  # fmt: skip
    _byte_level(target, more=(*special, *(f"<|{place * 0.02:.2f}|>" for place in range(_TIMES))))
    sound = {"feature_extractor_type": "WhisperFeatureExtractor", "sampling_rate": 16000, "n_fft": 400,
             "hop_length": 160, "chunk_length": 2, "feature_size": config.num_mel_bins}  # fmt: skip
    (target / "preprocessor_config.json").write_text(json.dumps(sound), "utf-8")
    path = target / "generation_config.json"
    rules: dict[str, Any] = {"no_timestamps_token_id": number["<|notimestamps|>"], "is_multilingual": several,
                             "max_initial_timestamp_index": 50}  # fmt: skip
    if several:
        rules["lang_to_id"] = {name: number[name] for name in ("<|en|>", "<|pt|>")}
        rules["task_to_id"] = {name: number[f"<|{name}|>"] for name in ("transcribe", "translate")}
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | rules), "utf-8")
    return target
