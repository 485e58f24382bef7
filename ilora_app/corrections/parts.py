"""Where what every client has brought is kept: in memory, or out of it."""

from typing import Protocol

from ilora_app.corrections.shapes import Flat


class Parts(Protocol):
    """Tensors by key.

    Attributes:
        stays: what is written is there after the process has ended, so that a
            checkpoint needs its key alone.

    """

    stays: bool

    def write(self, key: str, part: Flat) -> None:
        """Keep a part; one of that key is replaced."""

    def read(self, key: str) -> Flat:
        """Read a part that was written and not retired."""

    def retire(self, key: str) -> None:
        """Let a part go, once no checkpoint has its key."""


class Held:
    """Parts in memory."""

    stays = False

    def __init__(self) -> None:
        self._parts: dict[str, Flat] = {}

    def write(self, key: str, part: Flat) -> None:
        """Keep a part; one of that key is replaced."""
        self._parts[key] = part

    def read(self, key: str) -> Flat:
        """Read a part that was written and not retired."""
        return self._parts[key]

    def retire(self, key: str) -> None:
        """Let a part go."""
        del self._parts[key]
