"""What became of a file's lines."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from freehold.contracts.imports import REJECTED_SHOWN_MAX, RejectedLine


@dataclass(slots=True)
class Tally:
    """Counts of a file's events, and the first of its lines that were rejected."""

    accepted: int = 0
    duplicates: int = 0
    rejected_count: int = 0
    rejected: list[RejectedLine] = field(default_factory=list)

    @property
    def events(self) -> int:
        """How many lines have been decided; empty ones are none."""
        return self.accepted + self.duplicates + self.rejected_count

    def reject(self, lines: Iterable[RejectedLine], count: int) -> None:
        """Count rejected lines, of which some are shown."""
        self.rejected_count += count
        self.rejected = sorted([*self.rejected, *lines], key=lambda line: line.line)
        del self.rejected[REJECTED_SHOWN_MAX:]

    def document(self) -> dict[str, Any]:
        """Write it for another program."""
        return {
            "events": self.events,
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "rejected_count": self.rejected_count,
            "rejected": [line.model_dump(mode="json") for line in self.rejected],
        }
