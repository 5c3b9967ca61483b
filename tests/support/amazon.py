"""A server that speaks for S3 and KMS, and forgets everything when it ends: moto's."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import httpx
from moto.server import ThreadedMotoServer

ACCESS_KEY = "access-key-of-tests"
SECRET_KEY = "secret-key-of-tests"
REGION = "eu-central-1"


@dataclass(frozen=True, slots=True)
class Amazon:
    """The server, and clients to look at it with."""

    url: str

    def client(self, service: str) -> Any:
        """Make Amazon's own client for one of its services."""
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )

    def make_bucket(self, name: str) -> None:
        """Make a bucket."""
        self.client("s3").create_bucket(
            Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION}
        )


@contextmanager
def amazon_server() -> Iterator[Amazon]:
    """Run the server for a while."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        yield Amazon(url)
        # What it has is this process's, and would be the next server's too.
        httpx.post(f"{url}/moto-api/reset", trust_env=False).raise_for_status()
    finally:
        server.stop()
