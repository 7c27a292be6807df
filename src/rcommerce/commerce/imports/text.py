"""How a table of text was written: its encoding, and what separates its columns.

Spreadsheets write what their system is set to: UTF-8 with or without a byte order mark, UTF-16
("Unicode text"), Windows-1252; commas, semicolons, tabs.
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
# What `surrogateescape` makes of a byte that is not valid.
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
        """(the line where a row begins, its cells), or what is wrong with it in words.

        Raises ValueError where the file ends within a character.
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
    """How a file was written. Raises ValueError where it is empty."""
    encoding = _encoding(file)
    file.seek(0)
    text = _text(file, encoding)
    head = text.readline()
    text.detach()  # else the file would be closed with it
    if not head.strip():
        raise ValueError("the file is empty")
    # That which the first line has most of, quoted cells aside.
    bare = re.sub(r'"[^"]*"', "", head)
    return Layout(encoding, max(DELIMITERS, key=bare.count))


def is_invalid(cell: str) -> bool:
    """Whether bytes of a cell were no character of the file's encoding."""
    return not cell.isascii() and _INVALID.search(cell) is not None


def _text(file: BinaryIO, encoding: str) -> io.TextIOWrapper:
    errors = "strict" if encoding == "UTF-16" else "surrogateescape"
    return io.TextIOWrapper(file, encoding=_CODECS[encoding], errors=errors, newline="")


def _encoding(file: BinaryIO) -> str:
    """By its byte order mark; else UTF-8, unless not one of its characters beyond ASCII is."""
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
