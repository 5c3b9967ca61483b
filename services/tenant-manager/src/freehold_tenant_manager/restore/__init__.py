"""Restores of one tenant to any second."""
