"""What tenant-manager is asked for, and what it answers."""
