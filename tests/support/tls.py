"""Servers that speak TLS alone, with certificates of an authority made for the test."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from freehold_local.folders import write_whole
from freehold_local.ports import LOOPBACK, choose_ports, remembered_ports
from freehold_local.postgres import PrivatePostgres
from freehold_local.programs import Program
from freehold_local.rabbitmq import PrivateRabbitMQ

POSTGRES_SETTINGS = """
ssl = on
ssl_cert_file = '{folder}/server.pem'
ssl_key_file = '{folder}/server.key'
hba_file = '{folder}/pg_hba.conf'
"""
BROKER_SETTINGS = """
listeners.ssl.local = 127.0.0.1:{port}
ssl_options.cacertfile = {folder}/authority.pem
ssl_options.certfile = {folder}/server.pem
ssl_options.keyfile = {folder}/server.key
"""


class Authority:
    """An authority that signs certificates for this machine's loopback address.

    Args:
        name: Its name.
    """

    def __init__(self, name: str = "An authority") -> None:
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        self._certificate = (
            self._begun(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def write(self, folder: Path) -> Path:
        """Write the certificate that clients are to trust."""
        path = folder / "authority.pem"
        write_whole(path, _pem(self._certificate), mode=0o644)
        return path

    def write_server(self, folder: Path, *, group: int) -> None:
        """Write a certificate for a server on loopback, and its key for a group."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.IPAddress(ip_address(LOOPBACK))]
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = (
            self._begun(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "A server")]), key)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(issuer, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        unsealed = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        self.write(folder)
        write_whole(folder / "server.pem", _pem(certificate), mode=0o644)
        write_whole(folder / "server.key", unsealed.decode(), mode=0o640, group=group)

    def _begun(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
        )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


class TlsPostgres(PrivatePostgres):
    """A Postgres that lets nobody in without TLS."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        super().__init__(folder)
        self._authority = authority

    def prepare(self) -> list[Program]:
        """See PrivateServer."""
        programs = super().prepare()
        folder = programs[-1].folder
        account = programs[-1].account
        self._authority.write_server(folder, group=-1 if account is None else account.gid)
        write_whole(folder / "pg_hba.conf", "hostssl all all all scram-sha-256\n", mode=0o644)
        with (folder / "postgresql.conf").open("a") as settings:
            settings.write(POSTGRES_SETTINGS.format(folder=folder))
        return programs

    def verified_url(self, authority: Path) -> str:
        """Give the superuser's URL, with the authority that clients trust."""
        return f"{self.url}?sslmode=verify-full&sslrootcert={authority}"


class TlsRabbitMQ(PrivateRabbitMQ):
    """A RabbitMQ that also listens for TLS."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        super().__init__(folder)
        self._authority = authority

    def prepare(self) -> list[Program]:
        """See PrivateServer."""
        programs = super().prepare()
        folder = programs[-1].folder
        account = programs[-1].account
        self._authority.write_server(folder, group=-1 if account is None else account.gid)
        port = choose_ports(folder / "tls-port.json", {"amqps": None})["amqps"]
        with (folder / "rabbitmq.conf").open("a") as settings:
            settings.write(BROKER_SETTINGS.format(folder=folder, port=port))
        return programs

    def verified_url(self, authority: Path) -> str:
        """Give the services' URL, with the authority that clients trust."""
        parts = urlsplit(self.url)
        port = remembered_ports(self.folder / "tls-port.json")["amqps"]
        login = parts.netloc.rpartition("@")[0]
        return f"amqps://{login}@{LOOPBACK}:{port}/?cafile={authority}"
