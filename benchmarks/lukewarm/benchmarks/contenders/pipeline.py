"""The baseline: `transformers.pipeline` in fp32, as its documentation shows it, on the source model."""

from __future__ import annotations

from typing import Any

BACKEND = "transformers.pipeline"
REQUIREMENTS = ("torch", "transformers")
TASKS = {
    "text-generation": "text-generation",
    "embeddings": "feature-extraction",
    "text-classification": "text-classification",
}


def load(job: dict[str, Any]) -> Any:
    """The pipeline of the Hugging Face directory at `job["path"]`."""
    import torch
    from transformers import pipeline

    if job["threads"]:
        torch.set_num_threads(job["threads"])
    made = pipeline(TASKS[job["task"]], model=job["path"], dtype=torch.float32)
    if job["task"] == "text-generation":
        made.model.generation_config.eos_token_id = None  # for timing: always `new_tokens` tokens
        made.tokenizer.padding_side = "left"
        if made.tokenizer.pad_token_id is None:
            made.tokenizer.pad_token_id = 0
    return made


def run(model: Any, inputs: list[str], new_tokens: int) -> dict[str, Any]:
    """One batch, greedy."""
    given: Any = inputs if len(inputs) > 1 else inputs[0]
    if model.task != "text-generation":
        model(given, batch_size=len(inputs))
        return {"units": len(inputs), "text": ""}
    answers = model(
        given, batch_size=len(inputs), max_new_tokens=new_tokens, do_sample=False, return_full_text=False,
        pad_token_id=model.tokenizer.pad_token_id,
    )  # fmt: skip
    first = answers[0][0] if isinstance(answers[0], list) else answers[0]
    return {"units": new_tokens * len(inputs), "text": first["generated_text"]}
