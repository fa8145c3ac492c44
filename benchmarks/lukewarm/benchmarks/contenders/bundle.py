"""A bundle through lukewarm's own Predictor: every backend and precision."""

from __future__ import annotations

from typing import Any


def load(job: dict[str, Any]) -> Any:
    """Open the bundle at `job["path"]` and set its Predictor up, as a server does."""
    from lukewarm.predictors import load_predictor

    # by its name: importing the module would be counted as the bundle's own start
    forks = "lukewarm.benchmarks.contenders.fork" in job.get("extra", ())
    return load_predictor(job["path"], threads=job["threads"], options=job["options"], forks=forks)


def run(model: Any, inputs: list[str], new_tokens: int) -> dict[str, Any]:
    """One batch. Units are new tokens where the task makes tokens, else items."""
    results = model.predict_batch([_request(model, text, new_tokens) for text in inputs])
    units = sum(getattr(result, "completion_tokens", 1) for result in results)
    return {"units": units, "text": getattr(results[0], "text", "")}


def _request(model: Any, text: str, new_tokens: int) -> Any:
    kind = model.request_type
    if model.task == "text-generation":
        return kind(prompt=text, max_new_tokens=new_tokens, ignore_eos=True, temperature=0.0)
    if model.task == "text-to-text":
        return kind(text=text, max_new_tokens=new_tokens)
    return kind(text=text)
