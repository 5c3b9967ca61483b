"""What is measured runs as it does for a user: on disks that are waited for."""

from collections.abc import Iterator

import pytest

from freehold_local.postgres import PrivatePostgres
from freehold_local.stack import Stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A whole Freehold of its own."""
    stack = Stack(tmp_path_factory.mktemp("bench"), {}, ports="free")
    stack.up()
    yield stack
    stack.discard()


@pytest.fixture(scope="session")
def postgres_url(stack: Stack) -> str:
    """The superuser's way into the stack's Postgres."""
    return PrivatePostgres(stack.state / "postgres").url
