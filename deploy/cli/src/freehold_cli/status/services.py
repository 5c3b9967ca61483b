"""The services' health, as each answers for itself, without a credential."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from freehold_cli.errors import UnansweredError
from freehold_cli.service import Service
from freehold_cli.settings import variable

if TYPE_CHECKING:
    import httpx

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


def ask_services(urls: Mapping[str, str | None]) -> list[ServiceHealth]:
    """Ask all services at once how they are; one that does not answer costs five seconds.

    Args:
        urls: Each service's address by its name; None where it is not known.
    """
    with ThreadPoolExecutor(len(urls)) as pool:
        return list(pool.map(_ask, urls, urls.values()))


def _ask(service: str, url: str | None) -> ServiceHealth:
    if url is None:
        setting = variable(f"{service.replace('-', '_')}_url")
        return ServiceHealth(service, None, None, None, None, (f"not asked: set {setting}",))
    try:
        # Every service is asked alike for its health, whichever name it is given here.
        with Service("query", url, timeout_s=_TIMEOUT_S) as asked:
            alive, ready = asked.ask("GET", "/healthz"), asked.ask("GET", "/readyz")
    except UnansweredError as error:
        return ServiceHealth(service, url, False, None, None, (str(error),))
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


def _document(answer: "httpx.Response") -> dict[str, Any] | None:
    try:
        document = answer.json()
    except ValueError:
        return None
    return document if isinstance(document, dict) else None
