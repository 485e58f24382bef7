"""What ``ilora doctor`` finds: a name, a state, what is, and what to do."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

OK, WARNING, PROBLEM = "ok", "warning", "problem"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what was looked at.
        state: ok, warning or problem.
        found: what is.
        advice: what to do; empty where all is well.

    """

    name: str
    state: str
    found: str
    advice: str = ""


Look = Callable[[], Iterator[Finding]]


def examine(network: bool = True) -> Iterator[Finding]:
    """Look at everything, one after the other.

    Args:
        network: whether to ask the hub too.

    """
    from ilora_app.doctor import connections, installed, machine, variables

    looks: list[Look] = [
        installed.python,
        installed.packages,
        machine.devices,
        machine.memory,
        machine.folders,
        machine.shared_memory,
        connections.local_superlink,
        *([connections.hub] if network else []),
        variables.variables,
    ]
    for look in looks:
        try:
            yield from look()
        except Exception as error:  # one look that fails must not hide the others
            name = look.__name__.replace("_", " ")
            kind = type(error).__name__
            yield Finding(name, WARNING, f"could not be looked at: {kind}: {error}")
