"""One small valid request per task: for test inputs in artifacts and for trying a server."""

from __future__ import annotations

import base64
from typing import Any

from lukewarm.predictors.spec import Task

# a PNG of one white pixel
_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsHh2NgAAAABJRU5ErkJggg=="
)


def _silence() -> bytes:
    """A quarter of a second of silence as WAV, 16 kHz mono."""
    import io
    import wave

    stream = io.BytesIO()
    with wave.open(stream, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16000)
        sound.writeframes(bytes(8000))
    return stream.getvalue()


def example_request(task: Task) -> dict[str, Any]:
    """A request that every model of the task can answer."""
    if task == "text-generation":
        return {"prompt": "The capital of France is", "max_new_tokens": 16}
    if task == "text-to-text":
        return {"text": "Good morning."}
    if task in ("embeddings", "text-classification"):
        return {"text": "It rained all day."}
    if task == "image-to-text":
        return {"data": base64.b64encode(_PIXEL).decode()}
    if task == "speech-to-text":
        return {"data": base64.b64encode(_silence()).decode()}
    return {"inputs": {}}
