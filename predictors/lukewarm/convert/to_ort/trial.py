"""Runs a finished graph once, by the runtime's own decoder, in a process of its own: some load and do not run.

`python -m lukewarm.convert.to_ort.trial LAYERS-AS-JSON GRAPH ...` is that process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lukewarm.predictors.errors import UnsupportedError


def run(graphs: Sequence[Path], layers: Sequence[Sequence[int]]) -> None:
    """Two rows of different lengths, one step. Raises UnsupportedError with the runtime's reason."""
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", __name__, json.dumps(layers), *map(str, graphs)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise UnsupportedError(f"ONNX Runtime cannot run the graph: {lines[-1] if lines else done.returncode}")


def main() -> None:
    """The process of its own."""
    import numpy as np

    from lukewarm.predictors.ort.decoder import OrtDecoder
    from lukewarm.predictors.ort.parts import Parts
    from lukewarm.predictors.ort.session import open_graphs
    from lukewarm.predictors.predictor import NEVER, Runtime

    layers, *graphs = sys.argv[1:]
    parts = Parts(open_graphs([Path(graph) for graph in graphs], Runtime(threads=1, device="cpu"), prepack=False))
    decoder = OrtDecoder(parts, [(heads, size) for heads, size in json.loads(layers)], NEVER)
    scores = [decoder.prefill([[1, 1, 1], [1, 1]], 8)]
    decoder.keep([1])
    scores.append(decoder.step([1]))
    for found in scores:
        if not np.isfinite(found.logits()).all():
            sys.exit("its logits are not numbers")
        if found.best() != found.logits().argmax(-1).tolist():
            sys.exit("its choice is not the token of the largest logit")


if __name__ == "__main__":
    main()
