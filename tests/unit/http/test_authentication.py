"""The operator's token, while it is being replaced."""

import pytest
from structlog.testing import capture_logs

from freehold.contracts.errors import DomainError
from freehold.http.authentication import authenticate_operator

NEW, OLD = "the-new-token", "the-old-token"


@pytest.mark.parametrize(("token", "is_logged"), [(NEW, False), (OLD, True)])
def test_both_tokens_are_taken_and_the_old_one_is_noticed(token: str, *, is_logged: bool) -> None:
    with capture_logs() as logs:
        authenticate_operator(f"Bearer {token}", NEW, OLD)
    assert [line["event"] for line in logs] == ["the previous operator token was used"] * is_logged
    assert token not in str(logs)


@pytest.mark.parametrize("authorization", [None, "Bearer other", f"Bearer {NEW},{OLD}"])
def test_no_other_is_taken(authorization: str | None) -> None:
    with pytest.raises(DomainError):
        authenticate_operator(authorization, NEW, OLD)


def test_the_old_one_is_refused_once_it_is_forgotten() -> None:
    with pytest.raises(DomainError):
        authenticate_operator(f"Bearer {OLD}", NEW, None)
