"""Spans of messages, with the attributes of OpenTelemetry's semantic conventions for messaging."""

from contextlib import AbstractContextManager
from typing import Literal

from opentelemetry.trace import SpanKind

from freehold.observability.traces import TENANT, Attributes, Causes, caused_span

_KINDS = {"send": SpanKind.PRODUCER, "process": SpanKind.CONSUMER}


def message_attributes(operation: Literal["send", "process"], destination: str) -> Attributes:
    """Describe what is done with a message of an exchange or a queue."""
    return {
        "messaging.system": "rabbitmq",
        "messaging.operation.type": operation,
        "messaging.destination.name": destination,
    }


def doorbell_span(
    name: str,
    causes: Causes,
    *,
    operation: Literal["send", "process"],
    destination: str,
    tenant_id: str,
) -> AbstractContextManager[object]:
    """Begin the span of sending a doorbell, or of what it made a service do."""
    return caused_span(
        name,
        causes,
        kind=_KINDS[operation],
        attributes={**message_attributes(operation, destination), TENANT: tenant_id},
    )
