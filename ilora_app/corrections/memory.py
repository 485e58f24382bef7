"""What the client half of a drift correction keeps from round to round."""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor


class ClientMemory(Protocol):
    """Tensors and whole numbers by name; where they lie is no business of theirs."""

    def tensors(self, name: str) -> dict[str, Tensor] | None:
        """Read tensors; None where none are kept under this name."""

    def keep_tensors(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep tensors under a name, in place of those before."""

    def number(self, name: str) -> int:
        """Read a number; 0 where none is kept under this name."""

    def keep_number(self, name: str, value: int) -> None:
        """Keep a number under a name."""

    def drop(self, name: str) -> None:
        """Keep nothing under this name any more."""
