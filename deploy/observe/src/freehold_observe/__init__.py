"""References of what Freehold's services say of themselves, made of their sources."""
