"""Encoders with a classification head to bundles: labels, and the function that turns logits into scores."""

from __future__ import annotations

from typing import Any

from lukewarm.convert.architectures import task_hint
from lukewarm.convert.encoders import check_common, length_options
from lukewarm.convert.source import Source
from lukewarm.predictors.errors import SourceError, UnsupportedError

_READ_LAST = ("xlnet", "xlm", "flaubert")  # their answer stands at the last place of a row, whatever the mask says


def check(source: Source) -> None:
    """Refuse what has no sequence-classification head. Imports nothing heavy."""
    if not source.architecture.endswith("ForSequenceClassification"):
        raise UnsupportedError(
            f"{source.architecture} has no head for text classification, as a model named ...ForSequenceClassification "
            f"has{task_hint(source.architecture)}"
        )
    check_common(source)
    label_options(source)


def label_options(source: Source) -> dict[str, Any]:
    """`labels`, `function` and `max_tokens` of a bundle, as transformers' pipeline chooses them. Raises SourceError."""
    names = source.config.get("id2label")
    count = source.config.get("num_labels", len(names) if isinstance(names, dict) else 2)
    if not isinstance(names, dict):
        names = {str(index): f"LABEL_{index}" for index in range(count)}
    try:
        labels = [str(names[str(index)]) for index in range(len(names))]
    except KeyError as error:
        raise SourceError(f"{source.root / 'config.json'}: id2label has no label {error.args[0]}") from error
    if not labels:
        raise SourceError(f"{source.root / 'config.json'}: id2label names no label")
    problem = source.config.get("problem_type")
    if problem == "regression":
        function = "none"
    elif problem == "multi_label_classification" or len(labels) == 1:
        function = "sigmoid"
    else:
        function = "softmax"
    last = {"equal_lengths": True} if source.config.get("model_type") in _READ_LAST else {}
    return {"labels": labels, "function": function, **last, **length_options(source)}
