"""Everything that ``ilora doctor`` looks at, one after the other."""

from collections.abc import Callable, Iterator, Sequence

from ilora_app.doctor import connections, installed, machine, variables
from ilora_app.doctor.finding import WARNING, Finding

Look = Callable[[], Iterator[Finding]]


def examine(network: bool = True, more: Sequence[Look] = ()) -> Iterator[Finding]:
    """Look at everything, one after the other.

    Args:
        network: whether to ask the hub too.
        more: looks that were asked for.

    """
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
        *more,
    ]
    for look in looks:
        try:
            yield from look()
        except Exception as error:  # one look that fails must not hide the others
            name = getattr(look, "__name__", "data").replace("_", " ")
            kind = type(error).__name__
            yield Finding(name, WARNING, f"could not be looked at: {kind}: {error}")
