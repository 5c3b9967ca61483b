"""What Freehold's services agree on."""
