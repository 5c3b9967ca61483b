"""What an operator is shown: the installation at a glance, and one tenant."""
