"""Pictures to upload, each of which is a new one."""

import io
import random
import time
import zlib

SIDE = 3_000


def small_picture() -> bytes:
    """A PNG of one grey pixel, as small as they come."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    text = b"drill\0" + str(time.time_ns()).encode()
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", (1).to_bytes(4) + (1).to_bytes(4) + bytes([8, 0, 0, 0, 0]))
        + chunk(b"tEXt", text)
        + chunk(b"IDAT", zlib.compress(b"\0\x80"))
        + chunk(b"IEND", b"")
    )


def large_picture() -> bytes:
    """A WebP that keeps a worker busy for a second or two."""
    from PIL import Image

    colour = (random.randrange(256), random.randrange(256), random.randrange(256))  # noqa: S311
    file = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), colour).save(file, "WEBP", quality=10, method=0)
    return file.getvalue()
