"""A run config of the command line, read without what takes time to load."""

from collections.abc import Mapping

from ilora_app.settings import Settings, strategies


def parse(config: Mapping[str, object]) -> tuple[Settings, dict[str, str]]:
    """Read a run config; a method is loaded only where it lies outside this package.

    Returns:
        The settings, with defaults in place of wrong values, and the problems by key.

    """
    if not strategies.lies_elsewhere(config.get("strategy")):
        return strategies.parse(config)
    from ilora_app import methods

    return methods.parse(config)


def unknown(name: str) -> str:
    """Say what would be right where no method has a name; empty where one has."""
    if name in strategies.NAMES:
        return ""
    if not strategies.lies_elsewhere(name):
        return strategies.right(name)
    from ilora_app import methods

    try:
        methods.find(name)
    except methods.MethodError as error:
        return str(error)
    return ""
