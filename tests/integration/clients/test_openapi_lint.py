"""The OpenAPI document passes a linter that shares no code with what wrote it."""

import json

from support.documents import Document
from support.node import CLIENTS, npm_packages, run


def test_the_document_has_no_fault_and_no_warning() -> None:
    assert lint("openapi.json") == []


def lint(document: str) -> list[Document]:
    """Give what Redocly finds in a document beside its configuration."""
    redocly = npm_packages() / "node_modules" / ".bin" / "redocly"
    report = run(
        CLIENTS,
        *(str(redocly), "lint", document, "--config=redocly.yaml", "--format=json"),
        environment={"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"},
    )
    problems: list[Document] = json.loads(report[report.index("{\n") : report.rindex("}") + 1])[
        "problems"
    ]
    return problems
