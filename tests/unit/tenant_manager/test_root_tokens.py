"""The token of the settings, while it is being replaced."""

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from freehold_tenant_manager.operators.operators import RootTokens

NEW, OLD = "the-new-token", "the-old-token"
BOTH = RootTokens(SecretStr(NEW), SecretStr(OLD))


@pytest.mark.parametrize(("token", "is_logged"), [(NEW, False), (OLD, True)])
def test_both_tokens_are_taken_and_the_old_one_is_noticed(token: str, *, is_logged: bool) -> None:
    with capture_logs() as logs:
        assert BOTH.accept(token)
    assert [line["event"] for line in logs] == ["the previous operator token was used"] * is_logged
    assert token not in str(logs)


@pytest.mark.parametrize("token", ["", "other", f"{NEW},{OLD}"])
def test_no_other_is_taken(token: str) -> None:
    assert not BOTH.accept(token)


def test_the_old_one_is_refused_once_it_is_forgotten() -> None:
    assert not RootTokens(SecretStr(NEW), None).accept(OLD)
