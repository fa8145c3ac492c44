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
# no EPS, which Pillow gives to another program, and nothing that only few have seen
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "AVIF", "JPEG2000", "ICO")


def read_pixels(data: bytes, config: Mapping[str, Any], path: str = "$.data") -> FloatArray:
    """float32 [3, height, width] as preprocessor_config.json says. Raises RequestError, MissingExtra."""
    return pixels(read_picture(data, path), config, path)


def read_picture(data: bytes, path: str = "$.data") -> Any:
    """A Pillow image in RGB, turned as its camera was held; of several frames the first. Raises as `read_pixels`."""
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise MissingExtra("pillow, which reads images,", "image") from error
    try:
        image = _open(data)
        _check_size(image.size, "the image has", path)
        return _rgb(ImageOps.exif_transpose(image))
    except RequestError:
        raise
    except Image.DecompressionBombError as error:
        raise RequestError(
            "image_too_large", "the image unfolds into too many pixels", path, allowed=f"at most {_MOST_PIXELS:,}"
        ) from error
    except Exception as error:  # decoders raise whatever a damaged file makes them stumble over
        reason = "it is empty" if not data else " ".join(str(error).split())
        if "cannot identify" in reason:  # it would name an object in memory
            reason = "its format is not known"
        raise RequestError(
            "not_an_image", f"the image cannot be read: {reason[:200]}", path,
            allowed="PNG, JPEG, WebP, GIF, TIFF, BMP",
        ) from error  # fmt: skip


def _open(data: bytes) -> Any:
    """A Pillow image, its pixels not read yet; few formats are looked at first, the others cost many imports."""
    from PIL import Image, UnidentifiedImageError

    Image.preinit()
    try:
        return Image.open(io.BytesIO(data), formats=[name for name in _FORMATS if name in Image.OPEN])
    except UnidentifiedImageError:
        Image.init()
    return Image.open(io.BytesIO(data), formats=[name for name in _FORMATS if name in Image.OPEN])


def _rgb(image: Any) -> Any:
    """Pillow's own conversion, but for more than 8 bits a channel, which it would cut off at white."""
    from PIL import Image

    if not image.mode.startswith(("I", "F")):
        return image.convert("RGB")
    values = np.nan_to_num(np.asarray(image, np.float64))
    highest = values.max(initial=0.0)
    full = next((full for full in (1.0, 255.0, 65_535.0) if highest <= full), highest)
    if image.mode.startswith("I"):
        full = max(full, 65_535.0)
    return Image.fromarray((values.clip(0, full) * (255 / full)).astype(np.uint8)).convert("RGB")


def pixels(image: Any, config: Mapping[str, Any], path: str = "$.data") -> FloatArray:
    """What the model reads of an RGB image. Raises RequestError for one that would be too large by then."""
    resample = config.get("resample", _BILINEAR)
    wanted = config.get("size", 224)
    if config.get("do_align_long_axis", False) and _lies(image.size) * _lies(_target(image.size, wanted)) < 0:
        image = image.transpose(4)  # ROTATE_270, clockwise
    if config.get("do_resize", True):
        if config.get("do_thumbnail", False):  # Donut: the shorter edge first, then into the page
            wanted = {"shortest_edge": min(_target(image.size, wanted))}
        size = _target(image.size, wanted)
        _check_size(size, "scaled to what the model reads, the image would have", path)  # one long row of pixels
        image = image.resize(size, resample)
    if config.get("do_thumbnail", False):
        image = _thumbnail(image, config["size"], resample)
    if config.get("do_pad", False):
        image = _padded(image, config["size"])
    if config.get("do_center_crop", False):
        image = _crop(image, config.get("crop_size", config.get("size", 224)))
    values = np.asarray(image, np.float32)
    if config.get("do_rescale", True):
        values = values * np.float32(config.get("rescale_factor", 1 / 255))
    if config.get("do_normalize", True):
        mean = np.array(config.get("image_mean", [0.5, 0.5, 0.5]), np.float32)
        deviation = np.array(config.get("image_std", [0.5, 0.5, 0.5]), np.float32)
        values = (values - mean) / deviation
    result: FloatArray = np.ascontiguousarray(values.transpose(2, 0, 1), np.float32)
    return result


def _lies(size: tuple[int, int]) -> int:
    return (size[0] > size[1]) - (size[0] < size[1])


def _check_size(size: tuple[int, int], what: str, path: str) -> None:
    if size[0] * size[1] > _MOST_PIXELS:
        allowed = f"at most {_MOST_PIXELS:,} pixels"
        raise RequestError("image_too_large", f"{what} {size[0]} x {size[1]} pixels", path, allowed=allowed)


def _target(size: tuple[int, int], wanted: Any) -> tuple[int, int]:
    """(width, height) to resize to: one number or height and width are exact, a shortest edge keeps the proportions."""
    if isinstance(wanted, int):
        return wanted, wanted
    if "shortest_edge" in wanted:
        short = int(wanted["shortest_edge"])
        width, height = (max(1, int(short * edge / min(size))) for edge in size)
        return (short, height) if size[0] <= size[1] else (width, short)
    return int(wanted["width"]), int(wanted["height"])


def _thumbnail(image: Any, wanted: Mapping[str, int], resample: int) -> Any:
    """Smaller, so that both edges fit; the longer one decides."""
    height, width = min(image.height, wanted["height"]), min(image.width, wanted["width"])
    if (width, height) == image.size:
        return image
    if image.height > image.width:
        width = max(1, int(image.width * height / image.height))
    elif image.width > image.height:
        height = max(1, int(image.height * width / image.width))
    return image.resize((width, height), resample)


def _padded(image: Any, wanted: Mapping[str, int]) -> Any:
    """In the middle of a black page; what is larger than the page stays."""
    from PIL import Image

    width, height = wanted["width"] - image.width, wanted["height"] - image.height
    if width <= 0 and height <= 0:
        return image
    page = Image.new("RGB", (image.width + max(0, width), image.height + max(0, height)))
    page.paste(image, (max(0, width) // 2, max(0, height) // 2))
    return page


def _crop(image: Any, wanted: Any) -> Any:
    width, height = (wanted, wanted) if isinstance(wanted, int) else (int(wanted["width"]), int(wanted["height"]))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
