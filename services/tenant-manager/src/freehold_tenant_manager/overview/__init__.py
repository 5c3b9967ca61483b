"""What an operator is shown of one tenant."""
