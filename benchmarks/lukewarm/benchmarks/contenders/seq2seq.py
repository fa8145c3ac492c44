"""The baseline for translation: transformers' `generate` in fp32 on the source; version 5 has no pipeline for it."""

from __future__ import annotations

from typing import Any

BACKEND = "transformers.generate"


def load(job: dict[str, Any]) -> Any:
    """Tokenizer and model of the Hugging Face directory at `job["path"]`."""
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    if job["threads"]:
        torch.set_num_threads(job["threads"])
    tokenizer = AutoTokenizer.from_pretrained(job["path"])
    return tokenizer, AutoModelForSeq2SeqLM.from_pretrained(job["path"], dtype=torch.float32).eval()


def run(model: Any, inputs: list[str], new_tokens: int) -> dict[str, Any]:
    """One batch with the model's own beam search, to its own end or `new_tokens`. Units are new tokens."""
    import torch

    tokenizer, network = model
    given = tokenizer(inputs, return_tensors="pt", padding=True)
    with torch.inference_mode():
        made = network.generate(**given, max_new_tokens=new_tokens)
    # the first token begins the decoder; the end and what fills shorter rows are not counted, as in our results
    special = torch.tensor([network.config.eos_token_id, network.config.pad_token_id])
    units = int((~torch.isin(made[:, 1:], special)).sum())
    texts = tokenizer.batch_decode(made, skip_special_tokens=True)
    return {"units": units, "text": texts[0]}
