"""tenant-manager whose storage is a bucket, and whose data keys are wrapped by AWS KMS."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from freehold_tenant_manager.settings import Settings
from integration.tenant_manager.installation import Installation
from support.amazon import ACCESS_KEY, REGION, SECRET_KEY, Amazon, amazon_server

BUCKET = "backups"


@contextmanager
def bucket_settings(installation: Installation) -> Iterator[tuple[Settings, Amazon]]:
    """Have settings of an installation of its own, for as long as the bucket is there."""
    with amazon_server() as amazon, pytest.MonkeyPatch.context() as patched:
        patched.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        patched.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        amazon.make_bucket(BUCKET)
        settings = installation.settings(
            storage_url=f"s3://{BUCKET}/freehold",
            storage_s3_endpoint=amazon.url,
            storage_s3_region=REGION,
            kms_aws_key=amazon.client("kms").create_key()["KeyMetadata"]["KeyId"],
            kms_aws_region=REGION,
            kms_aws_endpoint=amazon.url,
        )
        yield settings, amazon
