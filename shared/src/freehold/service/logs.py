"""Logs: structlog, JSON lines unless a person watches at a terminal.

Request and tenant ids are bound to the context, so every line of a request carries them. Values
under names that could be secrets are blotted out, whoever logs them, and tracebacks show no local
variables: requests, and with them keys and amounts, are among those.
"""

import logging
import sys
from contextvars import ContextVar
from typing import Any

import structlog
from structlog.processors import ExceptionRenderer
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, WrappedLogger

_SECRET_WORDS = ("password", "secret", "token", "authorization", "dsn", "api_key", "amqp_url")


_request: ContextVar[dict[str, str | None]] = ContextVar("freehold_request")


def begin_request(request_id: str) -> None:
    """Have every line that is logged from here on in this task carry the request's id."""
    # One variable for all there is to say: structlog's own way takes ten times as long, each time.
    _request.set({"request_id": request_id, "tenant_id": None})


def name_tenant(tenant_id: str) -> None:
    """Have them carry the tenant's id, too."""
    _request.set({**_request.get({}), "tenant_id": tenant_id})


def serve_tenant(tenant_id: str) -> None:
    """Have them carry the tenant's id alone, in a task that outlives the request it began with."""
    _request.set({"tenant_id": tenant_id})


def _merge_request(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    for name, value in _request.get({}).items():
        event.setdefault(name, value)
    return event


def _blot_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    for name in event:
        if any(word in name.lower() for word in _SECRET_WORDS):
            event[name] = "***"
    return event


def configure_logs(service: str, level: str, form: str) -> None:
    """Set logging up for a process; libraries' records go the same way."""
    as_json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _merge_request,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _blot_secrets,
    ]
    if as_json:
        shared.append(ExceptionRenderer(ExceptionDictTransformer(show_locals=False)))
    renderer = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("aiormq", "aio_pika", "uvicorn", "asyncio"):
        logging.getLogger(noisy).setLevel("WARNING")
    structlog.contextvars.bind_contextvars(service=service)
