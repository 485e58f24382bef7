"""Mistakes in what a node was given, in two texts: for its own log, and for others."""

from typing import Self


class MistakeError(ValueError):
    """What is wrong, with which value, and what would be right.

    Nothing of an exception leaves a node but what stands in ``told`` here, or in a
    ``WireError``.

    Args:
        message: for who has the data, or the machine.
        told: the same for others: settings of the run and counts, and no values,
            columns, classes or folders of a node.

    """

    def __init__(self, message: str, told: str = "") -> None:
        super().__init__(message)
        self.told = told

    @classmethod
    def openly(cls, message: str) -> Self:
        """Make one that others may read as it is."""
        return cls(message, message)
