"""The whole of Freehold on one machine without Docker."""
