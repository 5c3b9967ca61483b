"""Read tokens: what a service has signed is read, and nothing else is."""

import base64
import time
from typing import Any

import jwt
import pytest

from freehold.security.key_ring import KeyRing
from freehold_query.tokens import ReadToken, ReadTokens

KEYS = "test:" + base64.b64encode(bytes(range(32))).decode()
KEY_RING = KeyRing(KEYS)
TOKEN = ReadToken("acme", "00112233aabbccdd", "cus_42", int(time.time()) + 3_600)
SECRET = KEY_RING.derived("freehold read tokens")["test"]
CLAIMS: dict[str, Any] = {
    "iss": "freehold-query",
    "aud": "freehold-query",
    "sub": "acme",
    "exp": TOKEN.expires_at,
    "key": TOKEN.key_id,
    "accounts": "cus_42",
}


@pytest.fixture
def tokens() -> ReadTokens:
    return ReadTokens(KEY_RING)


def test_a_signed_token_is_read_again_and_again(tokens: ReadTokens) -> None:
    text = tokens.sign(TOKEN)
    assert [tokens.read(text) for _ in range(2)] == [TOKEN, TOKEN]
    # Another process reads it as well.
    assert ReadTokens(KEY_RING).read(text) == TOKEN


def test_another_implementation_writes_the_same(tokens: ReadTokens) -> None:
    assert tokens.read(written()) == TOKEN


def test_a_token_ends(tokens: ReadTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    text = tokens.sign(TOKEN)
    assert tokens.read(text) == TOKEN
    monkeypatch.setattr("freehold_query.tokens.time.time", lambda: TOKEN.expires_at)
    assert tokens.read(text) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": int(time.time()) - 1},
        {"aud": "freehold-ingest"},
        {"iss": "someone"},
        *({name: None} for name in CLAIMS),
    ],
)
def test_other_claims_are_refused(tokens: ReadTokens, changes: dict[str, Any]) -> None:
    assert tokens.read(written(**changes)) is None


def test_only_one_algorithm_and_its_own_keys_are_taken(tokens: ReadTokens) -> None:
    for secret in (b"k" * 32, bytes(range(32))):
        assert tokens.read(written(secret=secret)) is None
    assert tokens.read(written(secret="", algorithm="none")) is None
    assert tokens.read(written(algorithm="HS512", secret=SECRET + SECRET)) is None
    assert tokens.read(written(kid="unknown")) is None
    assert tokens.read(jwt.encode(CLAIMS, SECRET)) is None


def test_a_changed_token_is_refused(tokens: ReadTokens) -> None:
    header, _, signature = tokens.sign(TOKEN).split(".")
    _, wider, _ = written(accounts="").split(".")
    assert tokens.read(f"{header}.{wider}.{signature}") is None
    for text in ("", "..", "a.b.c", f"{header}..", "é.é.é", "." * 1000, tokens.sign(TOKEN) + "x"):
        assert tokens.read(text) is None


def test_a_replaced_key_reads_on_until_it_is_gone(tokens: ReadTokens) -> None:
    new = "new:" + base64.b64encode(bytes(32)).decode()
    both = ReadTokens(KeyRing(f"{new},{KEYS}"))
    assert both.read(tokens.sign(TOKEN)) == TOKEN
    assert tokens.read(both.sign(TOKEN)) is None
    assert ReadTokens(KeyRing(new)).read(both.sign(TOKEN)) == TOKEN
    assert ReadTokens(KeyRing(new)).read(tokens.sign(TOKEN)) is None


def written(
    *, secret: bytes | str = SECRET, algorithm: str = "HS256", kid: str = "test", **changes: Any
) -> str:
    """A token with other claims; one that is None is left out."""
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}
    return jwt.encode(claims, secret, algorithm=algorithm, headers={"kid": kid})
