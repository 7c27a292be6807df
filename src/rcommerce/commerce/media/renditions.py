"""Makes an image's renditions: other sizes and formats."""

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError, features

from rcommerce.commerce.media.files import IMAGES
from rcommerce.errors import Unprocessable
from rcommerce.settings.schema import ImageProcessing, ImageSize

# AVIF's quality scale differs: this much lower looks the same, by Pillow's and libavif's defaults.
_AVIF_LOWER = 20
_OPTIONS = {"webp": {"method": 4}, "avif": {"speed": 8, "max_threads": 1}}
CONTENT_TYPES = {"webp": "image/webp", "avif": "image/avif"}


@dataclass(frozen=True, slots=True)
class Rendition:
    """An image in one size and format."""

    size: str
    format: str
    width: int
    height: int
    content: bytes

    @property
    def hash(self) -> str:
        """SHA-256, in hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()


def render(path: Path, settings: ImageProcessing) -> Iterator[Rendition]:
    """The renditions of the settings, largest first; none is larger than the image.

    Of an animation, the first frame. Metadata such as camera and location is removed. Raises
    Unprocessable if the image cannot be decoded.
    """
    formats = [name for name in settings.formats if features.check(name)]
    try:
        with Image.open(path, formats=list(IMAGES)) as opened:
            image = _upright(opened, settings.sizes)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError) as error:
        raise Unprocessable.field("file", f"the image is broken: {error}") from error
    profile = image.info.get("icc_profile")
    for size in sorted(settings.sizes, key=lambda each: -each.width * each.height):
        resized = _resized(image, size)
        for name in formats:
            lower = _AVIF_LOWER if name == "avif" else 0
            file = io.BytesIO()
            resized.save(
                file,
                name,
                quality=max(1, settings.default_quality - lower),
                icc_profile=profile,
                exif=b"",
                **_OPTIONS[name],
            )
            yield Rendition(size.name, name, *resized.size, file.getvalue())


def _upright(opened: Image.Image, sizes: Sequence[ImageSize]) -> Image.Image:
    """The image decoded, upright, in a colour mode that every format supports."""
    largest = max((max(size.width, size.height) for size in sizes), default=1)
    # decodes a large JPEG at a half or a quarter of its size
    opened.draft("RGB", (2 * largest, 2 * largest))
    image = ImageOps.exif_transpose(opened)
    has_alpha = "A" in image.getbands() or "transparency" in image.info
    return image.convert("RGBA" if has_alpha else "RGB")


def _resized(image: Image.Image, size: ImageSize) -> Image.Image:
    wanted = (size.width, size.height)
    if size.crop:
        return ImageOps.fit(image, wanted, Image.Resampling.LANCZOS)
    resized = image.copy()
    resized.thumbnail(wanted, Image.Resampling.LANCZOS)
    return resized
