"""4-bit codes and scales of least error in a layer's outputs: GPTQ (arXiv 2210.17323), then descent by coordinates.

Works on one weight, transposed: [width, rows]. `gram` [width, width] is the sum of input times input over tokens.
Blocks lie along the width; codes are -8 to 7, symmetric. numpy only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

LOW, HIGH = -8, 7
_DAMPING = 0.01  # of the mean of gram's diagonal: directions that no sample has are not for free
_SWEEPS = 4
_FACTORS = tuple(0.7 + 0.05 * step for step in range(9))  # of the scale that fits the largest value


def solve(
    weight: Array, gram: Array, block: int, sweeps: int = _SWEEPS, damping: float = _DAMPING
) -> tuple[Array, Array]:
    """Codes int8 [width, rows] and scales fp32 [width / block, rows] of weight [width, rows], of whole blocks."""
    import numpy as np

    gram = gram.astype(np.float64)
    diagonal = np.einsum("ii->i", gram)
    diagonal += damping * (diagonal.mean() or 1.0)
    codes, scales = _feedback(weight.copy(), _upper(gram).astype(np.float32), block)
    _descend(weight, codes, scales, gram.astype(np.float32), sweeps)
    return codes.astype(np.int8), scales


def _upper(gram: Array) -> Array:
    """The upper Cholesky factor of gram's inverse."""
    import numpy as np

    root = np.linalg.inv(np.linalg.cholesky(gram))
    upper: Array = np.linalg.cholesky(root.T @ root).T
    return upper


def _feedback(weight: Array, upper: Array, block: int) -> tuple[Array, Array]:
    """Round column after column; what rounding loses is made up for by the columns still to come."""
    import numpy as np

    width, rows = weight.shape
    codes = np.empty((width, rows), np.float32)
    scales = np.empty((width // block, rows), np.float32)
    for start in range(0, width, block):
        end = start + block
        part, local = weight[start:end], upper[start:end, start:end]
        scale = scales[start // block] = best_scales(part, 1 / np.diag(local) ** 2)
        errors = np.empty_like(part)
        for place in range(block):
            code = codes[start + place] = np.clip(np.rint(part[place] / scale), LOW, HIGH)
            errors[place] = (part[place] - code * scale) / local[place, place]
            if place + 1 < block:
                part[place + 1 :] -= local[place, place + 1 :, None] * errors[place]
        weight[end:] -= upper[start:end, end:].T @ errors
    return codes, scales


def best_scales(part: Array, importance: Array) -> Array:
    """Scales [rows] for weights [block, rows]; squared errors count by `importance` [block]."""
    import numpy as np

    low, high = part.min(0), part.max(0)
    extreme = np.where(-low > high, low, high) / LOW  # a negative scale gives the longer side the code -8
    extreme = np.where(extreme == 0, 1, extreme).astype(np.float32)
    weights = importance.astype(np.float32)[:, None]

    def error(scale: Array) -> Array:
        codes = np.clip(np.rint(part / scale), LOW, HIGH)
        found: Array = (((codes * scale - part) ** 2) * weights).sum(0)
        return found

    best, least = extreme, error(extreme)
    for factor in _FACTORS:
        for sign in (1, -1):
            scale = extreme * np.float32(sign * factor)
            found = error(scale)
            best, least = np.where(found < least, scale, best), np.minimum(found, least)
    return best


def _descend(weight: Array, codes: Array, scales: Array, gram: Array, sweeps: int) -> None:
    """In place: scale by scale and code by code to the best value while all others stay. Never increases the error."""
    import numpy as np

    width = len(weight)
    block = width // len(scales)
    slope = gram @ (weight - codes * np.repeat(scales, block, axis=0))
    for _ in range(sweeps):
        for start in range(0, width, block):
            end = start + block
            local, here = gram[start:end, start:end], slope[start:end]
            code, scale = codes[start:end], scales[start // block]
            before = code * scale
            square = (code * (local @ code)).sum(0)
            step = np.where(square > 0, (code * here).sum(0) / np.where(square > 0, square, 1), 0)
            step = np.where(scale + step == 0, 0, step)
            here = here - (local @ code) * step
            scale += step
            for place in range(block):
                target = code[place] + here[place] / (local[place, place] * scale)
                new = np.clip(np.rint(target), LOW, HIGH)
                here -= local[:, place, None] * ((new - code[place]) * scale)
                code[place] = new
            slope -= gram[:, start:end] @ (code * scale - before)
