"""The header fields that every answer has.

An answer may have its own value of such a field: balances may be cached, and /docs has a style
sheet.
"""

from collections.abc import Iterable, Mapping

HeaderFields = list[tuple[bytes, bytes]]

STANDARD: tuple[tuple[bytes, bytes], ...] = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)
_LINES = b"".join(b"%b: %b\r\n" % field for field in STANDARD)
_LINES_OF_CACHED = b"".join(b"%b: %b\r\n" % field for field in STANDARD[1:])


def standard_lines(own: Mapping[str, str]) -> bytes:
    """Write the standard fields of an answer, which may have its own Cache-Control."""
    return _LINES_OF_CACHED if "Cache-Control" in own else _LINES


def completed(fields: Iterable[tuple[bytes, bytes]]) -> HeaderFields:
    """Add the missing standard fields. Names are in lower case."""
    own = list(fields)
    names = {name for name, _ in own}
    own.extend([field for field in STANDARD if field[0] not in names])
    return own
