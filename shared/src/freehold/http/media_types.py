"""The media types of bodies: that of a request, and the one its client wants to be answered."""

import re
from collections.abc import Iterable, Mapping, Sequence

from freehold.contracts.excerpts import excerpt
from freehold.http.errors import NotAcceptable, UnsupportedMediaType

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"

_QUALITY = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?", re.ASCII)
_UTF_8 = frozenset({"utf-8", "utf8"})


def require(media_type: str, given: Sequence[str]) -> None:
    """Require the Content-Type of a body.

    Args:
        media_type: The accepted one.
        given: The values of the body's Content-Type fields.

    Raises:
        UnsupportedMediaType: It is another one (RFC 9110, section 15.5.16).
    """
    if len(given) == 1 and _is(media_type, given[0]):
        return
    was = f"was {excerpt(', '.join(given))}" if given else "is missing"
    raise UnsupportedMediaType(
        f"Content-Type must be {media_type}, and {was}", headers={"Accept": media_type}
    )


def require_json(given: Sequence[str]) -> None:
    """Require JSON. A body without a Content-Type counts as JSON.

    Raises:
        UnsupportedMediaType: It is another one.
    """
    if given:
        require(JSON, given)


def preferred(offered: Sequence[str], accept: Iterable[str]) -> str:
    """Choose the media type of an answer (RFC 9110, section 12.5.1).

    Args:
        offered: The types to choose from; of those that a client likes equally, the first one.
        accept: The values of the request's Accept fields. Without any, the first type is taken.

    Raises:
        NotAcceptable: The client takes none of them.
    """
    qualities = dict(_quality(each) for each in ",".join(accept).split(",") if "/" in each)
    if not qualities:
        return offered[0]
    best = max(offered, key=lambda media_type: _quality_of(media_type, qualities))
    if not _quality_of(best, qualities):
        raise NotAcceptable(f"this is answered as {', '.join(offered)}: accept one of them")
    return best


def _quality(each: str) -> tuple[str, float]:
    """Read a range of media types with its quality; other parameters are ignored."""
    media_range, *parameters = each.split(";")
    quality = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "q" and _QUALITY.fullmatch(value.strip()):
            quality = float(value)
    return media_range.strip().lower(), quality


def _quality_of(media_type: str, qualities: Mapping[str, float]) -> float:
    """Give the quality of a media type: that of the most specific range that has it."""
    main_type, _, _ = media_type.partition("/")
    ranges = (media_type, f"{main_type}/*", "*/*")
    return next((qualities[each] for each in ranges if each in qualities), 0.0)


def _is(media_type: str, given: str) -> bool:
    name, *parameters = given.split(";")
    if name.strip().lower() != media_type:
        return False
    # Unknown parameters are ignored (RFC 9110, section 8.3.1; RFC 8259, section 11).
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "charset" and value.strip().strip('"').lower() not in _UTF_8:
            return False
    return True
