"""What runs jobs: the engines by name, and what they have in common."""

from collections.abc import Sequence
from typing import Protocol

from ilora_app.compare.jobs import Job, Record


class Watch(Protocol):
    """Is told how the jobs go."""

    def started(self, job: Job) -> None:
        """A job is being run."""

    def ended(self, job: Job, record: Record) -> None:
        """A job has come to an end."""


class Engine(Protocol):
    """Runs jobs, and writes down how each came out."""

    name: str

    def run(self, jobs: Sequence[Job], watch: Watch) -> None:
        """Run them all, whatever becomes of each."""

    def close(self) -> None:
        """End every process that was started."""
