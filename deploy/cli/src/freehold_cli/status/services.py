"""The services' health, as each answers for itself, without a credential."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import httpx

from freehold_cli.connection import Connection, reaching, unreached

_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """What a service says of itself."""

    service: str
    url: str | None
    """None where its address is not set: it was not asked."""
    ready: bool | None
    version: str | None
    commit: str | None
    reasons: tuple[str, ...]
    """Why it is not ready, or which dependency that it can do without does not answer."""

    def document(self) -> dict[str, Any]:
        """Give it as JSON."""
        return asdict(self)


def ask_services(connection: Connection) -> list[ServiceHealth]:
    """Ask all services at once how they are; one that does not answer costs five seconds."""
    urls = connection.service_urls()
    with ThreadPoolExecutor(len(urls)) as pool:
        return list(pool.map(_ask, urls, urls.values()))


def _ask(service: str, url: str | None) -> ServiceHealth:
    if url is None:
        variable = f"FREEHOLD_{service.replace('-', '_').upper()}_URL"
        return ServiceHealth(service, None, None, None, None, (f"not asked: set {variable}",))
    try:
        with httpx.Client(timeout=_TIMEOUT_S, **reaching(url)) as client:
            alive, ready = client.get("/healthz"), client.get("/readyz")
    except httpx.TransportError as error:
        return ServiceHealth(service, url, False, None, None, (unreached(url, error),))
    said, report = _document(alive), _document(ready)
    if said is None or report is None:
        stranger = f"{url} answered, and not as a Freehold does."
        return ServiceHealth(service, url, False, None, None, (stranger,))
    return ServiceHealth(
        service,
        url,
        ready.is_success,
        said.get("version"),
        said.get("commit"),
        tuple(_reasons(report.get("checks", {}), report.get("reasons", {}))),
    )


def _reasons(checks: dict[str, bool], reasons: dict[str, str]) -> Iterable[str]:
    for name, answers in checks.items():
        if not answers:
            yield f"{name}: {reasons[name]}" if name in reasons else f"{name} does not answer"


def _document(answer: httpx.Response) -> dict[str, Any] | None:
    try:
        document = answer.json()
    except ValueError:
        return None
    return document if isinstance(document, dict) else None
