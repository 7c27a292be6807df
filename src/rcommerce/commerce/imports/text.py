"""How a text table was written: its encoding and its separator.

Spreadsheets use their system's settings: UTF-8 with or without a byte order mark, UTF-16 ("Unicode
text"), Windows-1252; commas, semicolons, tabs.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

CHUNK = 1 << 20
LARGEST_FIELD = 10 * 1024 * 1024  # characters
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_BOMS = {codecs.BOM_UTF8: "UTF-8", codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}
_CODECS = {"UTF-8": "utf-8-sig", "UTF-16": "utf-16", "Windows-1252": "cp1252"}
# The code points that `surrogateescape` decodes invalid bytes to.
_INVALID = re.compile("[\udc80-\udcff]")
_VALID = re.compile("[^\x00-\x7f\udc80-\udcff]")


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file is to be read."""

    encoding: str
    delimiter: str

    def __str__(self) -> str:
        return f"{self.encoding}, separated by {DELIMITERS[self.delimiter]}"

    def rows(self, file: BinaryIO) -> Iterator[tuple[int, list[str] | str]]:
        """(the line where a row begins, its cells), or a description of its fault.

        Raises ValueError if the file ends within a character.
        """
        csv.field_size_limit(LARGEST_FIELD)
        file.seek(0)
        reader = csv.reader(_text(file, self.encoding), delimiter=self.delimiter, strict=True)
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield line, f"not valid CSV: {error}"
                continue
            except UnicodeDecodeError as error:
                raise ValueError(f"line {line}: not valid {self.encoding}") from error
            if cells:
                yield line, cells


def layout(file: BinaryIO) -> Layout:
    """How a file was written. Raises ValueError if it is empty."""
    encoding = _encoding(file)
    file.seek(0)
    text = _text(file, encoding)
    head = text.readline()
    text.detach()  # otherwise the wrapper closes the file
    if not head.strip():
        raise ValueError("the file is empty")
    # The most frequent one in the first line, outside quotes.
    bare = re.sub(r'"[^"]*"', "", head)
    return Layout(encoding, max(DELIMITERS, key=bare.count))


def is_invalid(cell: str) -> bool:
    """Whether a cell has bytes that are invalid in the file's encoding."""
    return not cell.isascii() and _INVALID.search(cell) is not None


def _text(file: BinaryIO, encoding: str) -> io.TextIOWrapper:
    errors = "strict" if encoding == "UTF-16" else "surrogateescape"
    return io.TextIOWrapper(file, encoding=_CODECS[encoding], errors=errors, newline="")


def _encoding(file: BinaryIO) -> str:
    """By the byte order mark; otherwise UTF-8, unless no character beyond ASCII is valid UTF-8."""
    file.seek(0)
    head = file.read(4)
    for mark, name in _BOMS.items():
        if head.startswith(mark):
            return name
    file.seek(0)
    decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
    is_valid = is_invalid = False
    chunk = b"first"
    while chunk:
        chunk = file.read(CHUNK)
        text = decode(chunk, final=not chunk)
        if not text.isascii():
            is_valid = is_valid or _VALID.search(text) is not None
            is_invalid = is_invalid or _INVALID.search(text) is not None
    return "Windows-1252" if is_invalid and not is_valid else "UTF-8"
