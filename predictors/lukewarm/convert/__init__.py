"""Source model to bundle. Runs on a developer's machine; never imported at run time."""

from lukewarm.convert.api import convert_model
from lukewarm.convert.job import Converted, Converter, ConvertOptions, Job, Measure
from lukewarm.convert.source import Source, open_source

__all__ = ["ConvertOptions", "Converted", "Converter", "Job", "Measure", "Source", "convert_model", "open_source"]
