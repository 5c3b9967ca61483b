"""The demo: a day's traffic of three tenants, and the proof that what Freehold promises holds."""

from freehold_local.demo.story import run

__all__ = ["run"]
