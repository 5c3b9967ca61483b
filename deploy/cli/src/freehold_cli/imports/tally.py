"""Counts of a file's lines by result."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from freehold.contracts.imports import REJECTED_SHOWN_MAX, RejectedLine


@dataclass(slots=True)
class Tally:
    """Counts of a file's events, and the first rejected lines."""

    accepted: int = 0
    duplicates: int = 0
    conflicts: int = 0
    """Rejected lines whose external_id belongs to a different event."""
    rejected_count: int = 0
    rejected: list[RejectedLine] = field(default_factory=list)

    @property
    def events(self) -> int:
        """The number of lines decided; empty lines do not count."""
        return self.accepted + self.duplicates + self.rejected_count

    def reject(self, lines: Iterable[RejectedLine], count: int) -> None:
        """Count rejected lines, and keep the first to show."""
        self.rejected_count += count
        self.rejected = sorted([*self.rejected, *lines], key=lambda line: line.line)
        del self.rejected[REJECTED_SHOWN_MAX:]

    def document(self) -> dict[str, Any]:
        """The counts as JSON."""
        return {
            "events": self.events,
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "conflicts": self.conflicts,
            "rejected_count": self.rejected_count,
            "rejected": [line.model_dump(mode="json", exclude_none=True) for line in self.rejected],
        }
