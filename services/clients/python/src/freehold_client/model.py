"""What all answers are."""

import msgspec


class Model(msgspec.Struct):
    """An answer, or a part of one."""

    def to_dict(self) -> dict[str, object]:
        """Give it as it is in JSON, with the members that are None."""
        found: dict[str, object] = msgspec.to_builtins(self)
        return found
