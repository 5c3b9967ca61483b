"""Each test of the client runs with both: one description of calls serves them."""

from collections.abc import Callable

import pytest

from freehold_client import AsyncFreehold, Freehold
from support.scripted_client import Script

NewClient = Callable[[Script], Freehold | AsyncFreehold]


@pytest.fixture(params=["blocking", "awaiting"])
def new_client(request: pytest.FixtureRequest) -> NewClient:
    """Makes a client of one of the two kinds."""
    return Script.blocking if request.param == "blocking" else Script.awaiting
