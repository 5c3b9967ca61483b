"""Errors of HTTP itself: a request breaks its rules, or those of how bodies are written."""

from collections.abc import Mapping
from types import MappingProxyType

from freehold.contracts.errors import DomainError

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class HttpError(DomainError):
    """A request breaks a rule of HTTP, or of how bodies are written.

    Args:
        detail: One sentence for the caller.
        headers: Header fields that the answer must have.
    """

    headers: Mapping[str, str] = NO_HEADERS

    def __init__(self, detail: str, *, headers: Mapping[str, str] = NO_HEADERS) -> None:
        super().__init__(detail)
        if headers:
            self.headers = headers


class MalformedRequest(HttpError):
    """The request breaks the rules of HTTP."""

    slug = "malformed-request"


class MalformedJson(HttpError):
    """The body is not JSON."""

    slug = "malformed-json"


class MalformedCoding(HttpError):
    """The body is not what its Content-Encoding says."""

    slug = "malformed-coding"


class MethodNotAllowed(HttpError):
    """The path exists and does not know the method."""

    slug = "method-not-allowed"


class CrossOriginRequest(HttpError):
    """A page of another origin asks for an act of a console."""

    slug = "cross-origin-request"


class NotAcceptable(HttpError):
    """The client takes none of the media types that the path answers (RFC 9110, section 15.5.7)."""

    slug = "not-acceptable"


class RequestTimeout(HttpError):
    """The body did not come in time: the connection ends (RFC 9110, section 15.5.9)."""

    slug = "request-timeout"
    headers = MappingProxyType({"Connection": "close"})


class BodyTooLarge(HttpError):
    """The body is too large, packed or unpacked."""

    slug = "body-too-large"


class UriTooLong(HttpError):
    """The request's target is too long."""

    slug = "uri-too-long"


class UnsupportedMediaType(HttpError):
    """The body's media type or coding is not one that the path takes."""

    slug = "unsupported-media-type"


class HeadTooLarge(HttpError):
    """The request's header fields are too large."""

    slug = "head-too-large"


class Unimplemented(HttpError):
    """The request needs a feature of HTTP that is not supported."""

    slug = "not-implemented"


class HttpVersionUnsupported(HttpError):
    """The request is not in HTTP/1.0 or HTTP/1.1."""

    slug = "http-version-unsupported"


def malformed_json(reason: str) -> MalformedJson:
    """Make the error of what a parser refused."""
    return MalformedJson(f"this is not JSON: {reason}")
