"""Range requests (RFC 9110, section 14): one range of bytes, as media players request."""

import re

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def wanted(size: int, given: str | None, if_range: str | None, etag: str) -> range | None:
    """The bytes of a Range header; empty if there are none such (416). None for the whole: no
    header, one that is not understood, several ranges, or an If-Range of another version."""
    if given is None or (if_range is not None and if_range != etag):
        return None
    found = _RANGE.fullmatch(given.strip().replace(" ", ""))
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:  # the last so many bytes
        last = int(found[2])
        return range(max(0, size - last), size) if last else range(0)
    first, end = int(found[1]), int(found[2]) + 1 if found[2] else size
    if found[2] and end <= first:
        return None  # not a range: ignored
    return range(first, min(end, size)) if first < size else range(0)
