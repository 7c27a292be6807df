"""Detects a file's type from its content: never from its name or from what the client declares."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import filetype
from PIL import Image, UnidentifiedImageError

from rcommerce.errors import Unprocessable

# Accepted images: Pillow's name of the format, media type, file extension.
IMAGES = {
    "JPEG": ("image/jpeg", "jpg"),
    "PNG": ("image/png", "png"),
    "WEBP": ("image/webp", "webp"),
    "GIF": ("image/gif", "gif"),
    "AVIF": ("image/avif", "avif"),
}
OTHERS = {"video/mp4": "mp4", "video/webm": "webm", "application/pdf": "pdf"}
TYPES = {
    **{extension: kind for kind, extension in IMAGES.values()},
    **{extension: kind for kind, extension in OTHERS.items()},
}
HEAD_BYTES = 8192  # bytes that suffice to detect the type
# Images larger than the settings allow are rejected here, by their header, before anything is
# decoded; Pillow's own warning is not needed.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


@dataclass(frozen=True, slots=True)
class Kind:
    """A file's type; for images `width` and `height` in pixels."""

    content_type: str
    extension: str
    width: int | None = None
    height: int | None = None

    @property
    def is_image(self) -> bool:
        """Whether renditions can be made of it."""
        return self.width is not None


def inspect(path: Path, max_megapixels: int) -> Kind:
    """Detects a file's type from its first bytes; raises Unprocessable if it is not accepted."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    image = _image(path, max_megapixels)
    if image is not None:
        return image
    guess = filetype.guess(head)
    if guess is not None and guess.mime in OTHERS:
        return Kind(guess.mime, OTHERS[guess.mime])
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in head.lower() and start.startswith((b"<?xml", b"<!", b"<svg")):
        raise _refused("this is an SVG, which can hold scripts; upload it as PNG or WebP")
    what = f"this is {guess.mime}" if guess else "this is of no type that is known"
    raise _refused(f"{what}; taken are {', '.join(sorted(set(TYPES)))}")


def _image(path: Path, max_megapixels: int) -> Kind | None:
    try:
        with Image.open(path, formats=list(IMAGES)) as image:
            content_type, extension = IMAGES[str(image.format)]
            width, height = image.size
    except UnidentifiedImageError:
        return None
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(max_megapixels) from error
    # the exceptions that Pillow raises for a broken file
    except (OSError, SyntaxError, ValueError) as error:
        raise _refused(f"the image is broken: {error}") from error
    if width * height > max_megapixels * 1_000_000:
        raise _too_many_pixels(max_megapixels, f"{width} x {height}")
    return Kind(content_type, extension, width, height)


def _too_many_pixels(most: int, found: str = "more") -> Unprocessable:
    return Unprocessable(
        f"the image has {found} pixels; at most {most} megapixels are accepted",
        code="image_too_large",
    )


def _refused(why: str) -> Unprocessable:
    return Unprocessable.field("file", why, code="unsupported_media")
