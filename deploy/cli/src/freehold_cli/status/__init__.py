"""``freehold status``: whether all of a Freehold is well, at a glance."""
