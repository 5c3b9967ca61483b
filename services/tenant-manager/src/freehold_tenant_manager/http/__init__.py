"""What the operator's and the tenants' routes have in common."""
