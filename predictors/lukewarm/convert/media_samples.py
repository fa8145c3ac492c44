"""Pictures and sounds to measure a conversion on: drawn and sung here, the same on every machine."""

from __future__ import annotations

import io
import struct
from typing import Any

_PICTURES, _SOUNDS, _RATE = 6, 6, 16_000


def pictures() -> list[bytes]:
    """PNG files: landscapes with a sun, houses and a line of writing, of several sizes."""
    import numpy as np
    from PIL import Image, ImageDraw

    found = []
    for number in range(_PICTURES):
        draw = np.random.default_rng(number)
        width, height = (int(edge) for edge in draw.integers(180, 420, 2))
        rows = np.linspace(0, 1, height)[:, None, None]
        sky, ground = draw.integers(0, 255, (2, 3))
        pixels = np.broadcast_to(sky * (1 - rows) + ground * rows, (height, width, 3))
        image = Image.fromarray((pixels + draw.normal(0, 6, pixels.shape)).clip(0, 255).astype(np.uint8))
        pen = ImageDraw.Draw(image)
        x, y, size = (int(value) for value in draw.integers(20, 150, 3))
        pen.ellipse((x, y // 2, x + size, y // 2 + size), fill=_colour(draw))
        for _ in range(int(draw.integers(1, 5))):
            x, size = (int(value) for value in draw.integers(10, 160, 2))
            pen.rectangle((x, height - size, x + size, height), fill=_colour(draw), outline=(0, 0, 0))
        pen.text((8, 8), f"Invoice {int(draw.integers(1000, 9999))}  Total 42.{number}0", fill=_colour(draw))
        stream = io.BytesIO()
        image.save(stream, "PNG")
        found.append(stream.getvalue())
    return found


def _colour(draw: Any) -> tuple[int, ...]:
    return tuple(int(value) for value in draw.integers(0, 255, 3))


def sounds() -> list[bytes]:
    """WAV files of 2 to 4 s: syllables of a voice with moving formants, hisses between them, a room's noise."""
    import numpy as np

    found = []
    for number in range(_SOUNDS):
        draw = np.random.default_rng(number)
        count = int(_RATE * draw.uniform(2, 4))
        time = np.arange(count) / _RATE
        pitch = draw.uniform(90, 220) * (1 + 0.1 * np.sin(2 * np.pi * draw.uniform(0.5, 2) * time))
        phase = 2 * np.pi * np.cumsum(pitch) / _RATE
        formants = [draw.uniform(300, 900), draw.uniform(900, 2300), draw.uniform(2300, 3200)]
        move = 1 + 0.2 * np.sin(2 * np.pi * draw.uniform(2, 4) * time)
        voice = np.zeros(count)
        for harmonic in range(1, 24):
            height = sum(np.exp(-(((harmonic * pitch - f * move) / 160) ** 2)) for f in formants)
            voice += height * np.sin(harmonic * phase)
        syllables = np.clip(np.sin(2 * np.pi * draw.uniform(2, 5) * time), 0, 1)
        hiss = draw.normal(0, 0.1, count) * np.clip(np.sin(2 * np.pi * 3 * time + 2), 0, 1) ** 4
        sound = voice * syllables + hiss + draw.normal(0, 0.003, count)
        found.append(_wav(sound / (np.abs(sound).max() * 1.25)))
    return found


def _wav(samples: Any) -> bytes:
    data: bytes = (samples * 32767).astype("<i2").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, _RATE, _RATE * 2, 2, 16)
    body = b"WAVE" + form + struct.pack("<4sI", b"data", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body
