"""Signing in at an identity provider: OpenID Connect Core 1.0, by its authorization code flow.

The code is bound to the browser by `state`, to the ID token by `nonce`, and to this service by PKCE
(RFC 7636). The ID token says who it is; its signature, issuer, audience, times and nonce are
checked. Metadata and keys are fetched at each sign-in: they are seldom, and never out of date.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from secrets import token_urlsafe
from typing import Any

import httpx2
import orjson
import structlog
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry
from pydantic import SecretStr

from freehold.contracts.errors import RoleMissing, Unauthorized, Unavailable
from freehold_tenant_manager.contracts.operators import Role
from freehold_tenant_manager.operators.authority import Operator
from freehold_tenant_manager.operators.details import bounded

_log = structlog.get_logger(__name__)

_METADATA = "/.well-known/openid-configuration"
_SCOPES = "openid profile email"
_TIMEOUT_S = 4.0
_WHOLE_TIMEOUT_S = 8.0
_LEEWAY_S = 60
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "Ed25519")
"""Signatures by the provider's own key. One by the client's secret would prove nothing more."""
_NAMES = ("preferred_username", "email", "sub")


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """An identity provider, and what its groups may do here."""

    issuer: str
    client_id: str
    client_secret: SecretStr
    role_claim: str
    roles: Mapping[str, Role]


@dataclass(frozen=True, slots=True)
class Flow:
    """What a browser keeps from when it leaves for the provider until it is back."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def new(cls) -> "Flow":
        """Begin one, with random values that nobody can guess."""
        return cls(token_urlsafe(32), token_urlsafe(32), token_urlsafe(48))


class IdentityProvider:
    """Sends people to the provider, and finds out who comes back."""

    def __init__(self, settings: ProviderSettings) -> None:
        self._settings = settings

    def mark(self) -> str:
        """Give what changes with the settings that say who is let in, and as what."""
        known = self._settings
        decisive = [known.issuer, known.client_id, known.role_claim, dict(known.roles)]
        return sha256(orjson.dumps(decisive, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]

    async def address(self, flow: Flow, redirect_uri: str) -> str:
        """Give the provider's page that asks a person who they are.

        Raises:
            Unavailable: The provider does not answer.
        """
        async with self._client(redirect_uri) as client:
            metadata = await self._metadata(client)
            address, _ = client.create_authorization_url(
                metadata["authorization_endpoint"],
                state=flow.state,
                nonce=flow.nonce,
                code_verifier=flow.verifier,
            )
        return str(address)

    async def operator(
        self, flow: Flow, code: str, redirect_uri: str, address: str | None
    ) -> Operator:
        """Find who came back with a code.

        Raises:
            Unauthorized: The code or what it was exchanged for proves nothing.
            RoleMissing: None of the person's groups has a role here.
            Unavailable: The provider does not answer.
        """
        async with self._client(redirect_uri) as client:
            metadata = await self._metadata(client)
            token = await client.fetch_token(
                metadata["token_endpoint"], code=code, code_verifier=flow.verifier
            )
            keys = (
                await client.request("GET", metadata["jwks_uri"], withhold_token=True)
            ).raise_for_status()
            claims = self._verified(token, keys.json(), flow)
        name = bounded(next((str(claims[n]) for n in _NAMES if claims.get(n)), ""))
        return Operator(
            f"oidc:{name}",
            self._role(claims, name),
            "oidc",
            address,
            subject=bounded(str(claims["sub"])),
        )

    @asynccontextmanager
    async def _client(self, redirect_uri: str) -> AsyncIterator[AsyncOAuth2Client]:
        """Have a client of the provider for a while; its failures become the domain's."""
        known = self._settings
        try:
            async with (
                asyncio.timeout(_WHOLE_TIMEOUT_S),
                AsyncOAuth2Client(
                    known.client_id,
                    known.client_secret.get_secret_value(),
                    scope=_SCOPES,
                    redirect_uri=redirect_uri,
                    code_challenge_method="S256",
                    timeout=_TIMEOUT_S,
                ) as client,
            ):
                yield client
        except (AuthlibBaseError, JoseError) as error:
            _log.warning("sign-in at the identity provider failed", fault=str(error))
            raise Unauthorized(
                "the identity provider's answer proves nothing; sign in again"
            ) from error
        except (httpx2.HTTPError, TimeoutError, KeyError, ValueError) as error:
            _log.warning("the identity provider does not answer", fault=repr(error))
            raise Unavailable("the identity provider does not answer as it should") from error

    async def _metadata(self, client: AsyncOAuth2Client) -> dict[str, Any]:
        """Fetch the provider's description (OpenID Connect Discovery 1.0, section 4)."""
        issuer = self._settings.issuer
        answer = await client.request("GET", issuer.rstrip("/") + _METADATA, withhold_token=True)
        metadata: dict[str, Any] = answer.raise_for_status().json()
        if metadata["issuer"] != issuer:
            raise ValueError(f"the provider calls itself {metadata['issuer']}")
        return metadata

    def _verified(self, token: Mapping[str, Any], keys: Any, flow: Flow) -> Mapping[str, Any]:
        """Check an ID token (OpenID Connect Core 1.0, section 3.1.3.7), and give its claims."""
        known = self._settings
        registry = JWSRegistry(algorithms=list(_ALGORITHMS), strict_check_header=False)
        signed = jwt.decode(token["id_token"], KeySet.import_key_set(keys), registry=registry)
        claims = CodeIDToken(
            signed.claims,
            signed.header,
            options={
                "iss": {"essential": True, "value": known.issuer},
                "aud": {"essential": True, "value": known.client_id},
                "sub": {"essential": True},
                "nonce": {"essential": True, "value": flow.nonce},
            },
            params={
                "nonce": flow.nonce,
                "client_id": known.client_id,
                "access_token": token.get("access_token"),
            },
        )
        claims.validate(leeway=_LEEWAY_S)
        return claims

    def _role(self, claims: Mapping[str, Any], name: str) -> Role:
        """Give the highest role that a person's groups have."""
        stated = claims.get(self._settings.role_claim) or []
        groups = [stated] if isinstance(stated, str) else stated
        roles = {
            self._settings.roles[g]
            for g in groups
            if isinstance(g, str) and g in self._settings.roles
        }
        if not roles:
            _log.warning("a person without a role tried to sign in", operator=f"oidc:{name}")
            raise RoleMissing(
                f"the identity provider knows you as {name}, and none of your groups there has a"
                " role here; ask an owner of this Freehold for one"
            )
        return max(roles, key=list(Role).index)
