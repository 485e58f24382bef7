"""Names of the methods, and a run config read without loading one: torch takes time."""

from collections.abc import Mapping

from ilora_app.settings import Settings, parsing

NAMES = (
    "ilora", "fedit", "flora", "ffa-lora", "lora-fair", "hetlora", "flexlora",
    "fedex-lora", "rolora", "fedsa-lora", "lora-a2", "raflora", "fedrot-lora",
    "fedgalore", "linear-probe", "centralized", "local", "fedavg-full",
)  # fmt: skip
"""Of this package, in the order of the registry."""


def lies_elsewhere(name: object) -> bool:
    """Whether a name is that of a class outside this package."""
    return isinstance(name, str) and ":" in name


def right(name: str) -> str:
    """Say what is expected where a name is none, and which one is near it."""
    own = "package.module:Class of a method of your own"
    return f"one of {', '.join(NAMES)}, or {own}{parsing.near(name, NAMES)}"


def parse(config: Mapping[str, object]) -> tuple[Settings, dict[str, str]]:
    """Read a run config whose method, if it is one, is of this package.

    All of those take the same keys.

    Returns:
        As :func:`ilora_app.settings.parsing.parse`, an unknown method included.

    """
    settings, problems = parsing.parse(config)
    name = config.get("strategy")
    if isinstance(name, str) and name not in NAMES:
        problems["strategy"] = parsing.describe("strategy", name, right(name))
    return settings, problems
