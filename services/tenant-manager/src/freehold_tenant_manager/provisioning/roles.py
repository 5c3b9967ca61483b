"""What the scripts on a tenant's roles read: their names' prefix, their passwords' verifiers."""

from collections.abc import Mapping

from freehold_tenant_manager.provisioning.scram import scram_verifier

_CUSTOMERS = "auditor"
_GENERATED_ITERATIONS = 64


def role_settings(database_name: str) -> dict[str, str]:
    """Give the settings that every script on a database's roles reads."""
    return {"freehold.role_prefix": database_name}


def verifier_settings(passwords: Mapping[str, str]) -> dict[str, str]:
    """Give those that the script which makes the login roles reads, too; passwords by service."""
    return {
        f"freehold.verifier_{service}": role_verifier(service, password)
        for service, password in passwords.items()
    }


def role_verifier(service: str, password: str) -> str:
    """Make the verifier of a role's password, which is one of ours: 192 random bits.

    RFC 5802 has many iterations so that guessing takes long, and nobody guesses those; while each
    new role and each new connection takes them all. The customer's own role has the usual number:
    some drivers refuse fewer.
    """
    if service == _CUSTOMERS:
        return scram_verifier(password)
    return scram_verifier(password, iterations=_GENERATED_ITERATIONS)
