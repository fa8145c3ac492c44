"""The table of targets. A new target is one file, one row here, and one test class."""

from __future__ import annotations

from lukewarm.predictors.registry import Registry, Row

_A = "lukewarm.adapters"
# The attribute is an `Adapter` object (base.py). The extra is what its local server needs on this machine.
TARGETS = Registry(
    "target",
    "lukewarm.targets",
    (
        Row("bento", f"{_A}.bento", "adapter", "bento"),
        Row("cog", f"{_A}.cog", "adapter", "cog"),
        Row("modal", f"{_A}.modal", "adapter", "modal"),
        Row("runpod", f"{_A}.runpod", "adapter", "runpod"),
        Row("banana", f"{_A}.banana", "adapter", "banana"),
        Row("lambda", f"{_A}.lambda_", "adapter", "lambda"),
        Row("cloudrun", f"{_A}.cloudrun", "adapter", "serve"),
        Row("sagemaker", f"{_A}.sagemaker", "adapter", "serve"),
        Row("vertex", f"{_A}.vertex", "adapter", "serve"),
        Row("azure", f"{_A}.azure", "adapter", "serve"),
        Row("kserve", f"{_A}.kserve", "adapter", "serve"),
        Row("truss", f"{_A}.truss", "adapter"),
        Row("hf-endpoints", f"{_A}.hf_endpoints", "adapter", "serve"),
    ),
)
