"""The Predictor interface and its backends: what ships in every image.

Importing this package loads no model runtime; a backend is imported when a bundle asks for it.
"""

from lukewarm.predictors.bundle import Bundle, Manifest
from lukewarm.predictors.errors import LukewarmError
from lukewarm.predictors.predictor import Backend, Predictor, Runtime, load_predictor
from lukewarm.predictors.spec import ModelSpec

__all__ = ["Backend", "Bundle", "LukewarmError", "Manifest", "ModelSpec", "Predictor", "Runtime", "load_predictor"]
