"""Rules for a request's head that the parser does not check, and the parser's errors."""

import re

import httptools

from freehold.contracts.errors import DomainError, NotFound
from freehold.http.errors import (
    HeadTooLarge,
    HttpVersionUnsupported,
    MalformedRequest,
    Unimplemented,
    UriTooLong,
)

HEAD_BYTES_MAX = 65_536
HEADER_FIELDS_MAX = 200
TARGET_BYTES_MAX = 16_384

_VERSIONS = frozenset({"1.0", "1.1"})
# uri-host and port (RFC 3986, section 3.2), of any host. A comma would be two fields joined.
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+;=%-]*)(?::[0-9]{0,5})?")
# In a path %2F is not a slash (RFC 3986, section 2.2), but Starlette reads it as one.
_NO_SLASH = re.compile(rb"[^?]*%2f", re.IGNORECASE)
_NO_PATH = re.compile(rb"[a-z]+://[^/]*", re.IGNORECASE)
# The parser's messages; the second is for the preface of HTTP/2.
_VERSION_FAULTS = frozenset({"Invalid HTTP version", "Pause on PRI/Upgrade"})


def check_head(version: str, target: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    """Check a head for what the parser does not check.

    Raises:
        MalformedRequest, NotFound, HeadTooLarge, UriTooLong, Unimplemented, HttpVersionUnsupported:
            It breaks a rule.
    """
    if version not in _VERSIONS:
        raise HttpVersionUnsupported("send the request in HTTP/1.1")
    _check_target(target)
    if len(headers) > HEADER_FIELDS_MAX:
        raise HeadTooLarge(f"a request may have at most {HEADER_FIELDS_MAX} fields")
    if sum([len(name) + len(value) for name, value in headers]) > HEAD_BYTES_MAX:
        raise head_too_large()
    names = [name for name, _ in headers]
    hosts = names.count(b"host")
    # RFC 9112, section 3.2.
    if hosts > 1 or (not hosts and version == "1.1"):
        raise MalformedRequest(f"send one Host field; there were {hosts}")
    if hosts and not _HOST.fullmatch(headers[names.index(b"host")][1]):
        raise MalformedRequest("the Host field names no host")
    if b"transfer-encoding" in names:
        # It is new in 1.1 (RFC 9112, section 6.1).
        if version != "1.1":
            raise MalformedRequest("HTTP/1.0 has no Transfer-Encoding")
        codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
        if codings != [b"chunked"]:
            raise Unimplemented("the only Transfer-Encoding taken is chunked")


def _check_target(target: bytes) -> None:
    if len(target) > TARGET_BYTES_MAX:
        raise target_too_long()
    # RFC 9112, section 3.2.
    if b"#" in target:
        raise MalformedRequest("the target of a request has no fragment (#)")
    if b"%" in target and _NO_SLASH.match(target):
        raise NotFound("nothing here has an encoded slash (%2F) in its path")
    if not target.startswith(b"/") and _NO_PATH.fullmatch(target):
        raise MalformedRequest("the target of a request has a path, at least /")


def head_too_large() -> DomainError:
    """Make the error of a head that is too long."""
    return HeadTooLarge(f"the head of a request may have at most {HEAD_BYTES_MAX} bytes")


def target_too_long() -> DomainError:
    """Make the error of a path and query that are too long."""
    return UriTooLong(f"the target of a request may have at most {TARGET_BYTES_MAX} bytes")


def parser_error(error: httptools.HttpParserError) -> DomainError:
    """Make the error of a message that the parser, or a callback of it, refused."""
    if isinstance(error.__context__, DomainError):
        return error.__context__
    detail = str(error)
    if isinstance(error, httptools.HttpParserInvalidMethodError):
        return Unimplemented("the method is not known, or this is no HTTP at all")
    if detail in _VERSION_FAULTS:
        return HttpVersionUnsupported("send the request in HTTP/1.1")
    return MalformedRequest(f"no request that can be read: {detail}")
