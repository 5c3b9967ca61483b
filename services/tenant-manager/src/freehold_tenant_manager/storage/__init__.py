"""What is kept outside of databases: objects in a folder or a bucket, compressed and encrypted."""
