"""Object storage: a folder or a bucket, whose objects are compressed and encrypted."""
