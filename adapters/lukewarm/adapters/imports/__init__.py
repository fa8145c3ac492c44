"""Reads another platform's project, without running it, and writes a spec and a Predictor around its code."""

from lukewarm.adapters.imports.project import Imported, import_project, write
from lukewarm.adapters.imports.source import Loss

__all__ = ["Imported", "Loss", "import_project", "write"]
