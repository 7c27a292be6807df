"""Receives a file: streamed to disk, never whole in memory."""

import contextlib
import hashlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from rcommerce.errors import Invalid, TooLarge

FIELD = "file"
_MIB = 1024 * 1024
_FIELDS_BYTES = 64 * 1024  # bytes of a form's other fields and headers together


@dataclass(slots=True)
class Upload:
    """A file on this machine's disk; it is removed when the block that received it ends."""

    path: Path
    size_bytes: int = 0
    hash: bytes = b""
    filename: str = ""


@contextlib.asynccontextmanager
async def received(
    stream: AsyncIterator[bytes], content_type: str, max_mb: int
) -> AsyncIterator[Upload]:
    """A request's file: the field `file` of a form, or the whole body if it is no form.

    Raises Invalid, TooLarge.
    """
    kind, options = parse_options_header(content_type)
    with tempfile.NamedTemporaryFile(prefix="rcommerce-upload-") as spool:
        upload = Upload(Path(spool.name))
        sink = _Sink(upload, spool, max_mb)
        if kind == "multipart/form-data":
            await _form(stream, options.get("boundary", ""), sink)
        else:
            async for chunk in stream:
                sink.take(chunk)
        sink.end()
        yield upload


class _Sink:
    """Writes the data to disk, counts and hashes it."""

    def __init__(self, upload: Upload, spool: IO[bytes], max_mb: int) -> None:
        self.upload = upload
        self._spool = spool
        self._max_mb = max_mb
        self._hash = hashlib.sha256()

    def take(self, chunk: bytes | bytearray) -> None:
        """The next bytes. Raises TooLarge."""
        self.upload.size_bytes += len(chunk)
        if self.upload.size_bytes > self._max_mb * _MIB:
            raise TooLarge(f"file: is larger than {self._max_mb} MiB (media.max_upload_mb)")
        self._hash.update(chunk)
        self._spool.write(chunk)

    def end(self) -> None:
        """The end of the data. Raises Invalid if there was none."""
        if not self.upload.size_bytes:
            raise Invalid.field(FIELD, "is empty, or missing: send a form with this field")
        self._spool.flush()
        self.upload.hash = self._hash.digest()


async def _form(stream: AsyncIterator[bytes], boundary: str, sink: _Sink) -> None:
    """Extracts the file from a form (RFC 7578)."""
    if not boundary:
        raise Invalid("Content-Type: multipart/form-data needs its boundary")
    segment: MultipartSegment | None = None
    seen = others = 0
    try:
        with PushMultipartParser(boundary, max_segment_count=20) as parser:
            async for chunk in stream:
                for event in parser.parse(chunk):
                    if isinstance(event, MultipartSegment):
                        segment = event
                        if event.name == FIELD:
                            seen += 1
                            sink.upload.filename = event.filename or ""
                    elif event and segment is not None and segment.name == FIELD and seen == 1:
                        sink.take(event)
                    elif event:
                        others += len(event)
                    if seen > 1:
                        raise Invalid.field(FIELD, "may appear only once in a form")
                    if others > _FIELDS_BYTES:
                        raise TooLarge("the form's other fields are larger than 64 KiB")
    except MultipartError as error:
        raise Invalid(f"the form is broken: {error}") from error
