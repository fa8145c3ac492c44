"""Text generation on bitsandbytes weights.

The bundle's `model/` is what `save_pretrained` writes of a quantized model: config.json with its `quantization_config`,
and safetensors that hold 8- or 4-bit weights, so nothing is quantized at start.
"""

from __future__ import annotations

import importlib.util
import json
import logging
from typing import Any

from lukewarm.predictors.errors import BundleError, MissingExtra
from lukewarm.predictors.hf.loading import load_model, prepare_torch, torch_dtype
from lukewarm.predictors.hf.text_generation import HfTextGenerator


class BnbTextGenerator(HfTextGenerator):
    """int8 or nf4 weights, on a CUDA device or (slower) on a CPU; what is not quantized stays in fp32 on a CPU.

    LLM.int8 multiplies columns with outliers in fp16, and looks for outliers in the whole batch: at int8 a row's text
    can depend on its neighbours. nf4 does not have this.
    """

    def load(self) -> None:
        folder = self.bundle.root / "model"
        self._check_config()
        device = prepare_torch(self.runtime)
        for package in ("bitsandbytes", "accelerate"):
            if importlib.util.find_spec(package) is None:
                raise MissingExtra(package, "bnb")
        # it would log one line for each matrix product of each token
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        dtype = torch_dtype("fp32" if device.type == "cpu" else "fp16")
        self._model: Any = load_model("AutoModelForCausalLM", folder, device, dtype=dtype, **dict(self.runtime.options))

    def _check_config(self) -> None:
        """Refuse plain weights: transformers would load them unquantized under a quantized name."""
        path = self.bundle.path("model/config.json")
        try:
            quantization = json.loads(path.read_bytes()).get("quantization_config") or {}
        except ValueError as error:
            raise BundleError(f"{path} is not JSON: {error}; run: lukewarm convert --force") from error
        flag = "load_in_8bit" if self.bundle.manifest.precision == "int8" else "load_in_4bit"
        if not quantization.get(flag):
            raise BundleError(f"{path} has no quantization_config with {flag}; run: lukewarm convert --force")
