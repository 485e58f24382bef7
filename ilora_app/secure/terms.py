"""What the nodes of a session and its server are at."""

from dataclasses import dataclass

from ilora_app.secure.keys import packed


@dataclass(frozen=True)
class Terms:
    """What a session is: part of everything that is signed, derived and sealed in it.

    Attributes:
        run: id of the run.
        round: of the server.
        purpose: ``train`` or ``head``.
        passes: how many vectors are summed.
        least: nodes without which no sum is opened.

    """

    run: int
    round: int
    purpose: str
    passes: int
    least: int

    @property
    def joint(self) -> int:
        """Passes, from the first, whose vectors a node makes of one update.

        The same nodes must be in all of them: the sum over fewer, in a later pass,
        would show what those that are missing had sent in the first. The last pass of
        training is a measurement and stands alone.
        """
        return max(self.passes - 1, 1) if self.purpose == "train" else self.passes

    @property
    def text(self) -> bytes:
        """All of it."""
        return packed(
            "ilora secure aggregation 1",
            self.run,
            self.round,
            self.purpose,
            self.passes,
            self.least,
        )
