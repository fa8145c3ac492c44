"""PNG, JPEG and other images to the pixel values that a vision encoder reads, by Pillow and numpy."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lukewarm.predictors.errors import MissingExtra, RequestError

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]

_MOST_PIXELS = 64_000_000  # a small file can unfold into gigabytes
_BILINEAR = 2


def read_pixels(data: bytes, config: Mapping[str, Any], path: str = "$.data") -> FloatArray:
    """float32 [3, height, width] as preprocessor_config.json says. Raises RequestError, MissingExtra."""
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as error:
        raise MissingExtra("pillow, which reads images,", "image") from error
    try:
        image: Image.Image = Image.open(io.BytesIO(data))
        _check_size(image.size, "the image has", path)
        image = ImageOps.exif_transpose(image).convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RequestError(
            "not_an_image", f"the image cannot be read: {error}", path, allowed="PNG, JPEG, WebP, GIF"
        ) from error
    resample = config.get("resample", _BILINEAR)
    if config.get("do_resize", True):
        size = _target(image.size, config.get("size", 224))
        _check_size(size, "scaled to what the model reads, the image would have", path)  # one long row of pixels
        image = image.resize(size, resample)
    if config.get("do_center_crop", False):
        image = _crop(image, config.get("crop_size", config.get("size", 224)))
    pixels = np.asarray(image, np.float32)
    if config.get("do_rescale", True):
        pixels = pixels * np.float32(config.get("rescale_factor", 1 / 255))
    if config.get("do_normalize", True):
        mean = np.array(config.get("image_mean", [0.5, 0.5, 0.5]), np.float32)
        deviation = np.array(config.get("image_std", [0.5, 0.5, 0.5]), np.float32)
        pixels = (pixels - mean) / deviation
    result: FloatArray = np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32)
    return result


def _check_size(size: tuple[int, int], what: str, path: str) -> None:
    if size[0] * size[1] > _MOST_PIXELS:
        allowed = f"at most {_MOST_PIXELS:,} pixels"
        raise RequestError("image_too_large", f"{what} {size[0]} x {size[1]} pixels", path, allowed=allowed)


def _target(size: tuple[int, int], wanted: Any) -> tuple[int, int]:
    """(width, height) to resize to: one number or height and width are exact, a shortest edge keeps the proportions."""
    if isinstance(wanted, int):
        return wanted, wanted
    if "shortest_edge" in wanted:
        scale = wanted["shortest_edge"] / min(size)
        width, height = (max(1, int(edge * scale)) for edge in size)
        return (wanted["shortest_edge"], height) if size[0] <= size[1] else (width, wanted["shortest_edge"])
    return int(wanted["width"]), int(wanted["height"])


def _crop(image: Any, wanted: Any) -> Any:
    width, height = (wanted, wanted) if isinstance(wanted, int) else (int(wanted["width"]), int(wanted["height"]))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
