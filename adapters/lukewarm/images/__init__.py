"""Images without an engine: OCI layers, base images, registries and the weights' lock."""

from lukewarm.images.base import SCRATCH, Base, open_base
from lukewarm.images.build import Image, ImageInput, build_image
from lukewarm.images.oci import Platform
from lukewarm.images.push import Pushed, push_image
from lukewarm.images.reference import Reference, parse_reference

__all__ = [
    "SCRATCH", "Base", "Image", "ImageInput", "Platform", "Pushed", "Reference", "build_image", "open_base",
    "parse_reference", "push_image",
]  # fmt: skip
