"""Data and model of ``ilora run`` by name, before what takes time is loaded."""

from collections.abc import Sequence


def absent(
    config: str, pairs: Sequence[str], dataset: str | None, model: str | None
) -> list[str]:
    """Say what is neither here nor on the hub.

    Args:
        config: preset or config file; empty for neither.
        pairs: KEY=VALUE of the run config.
        dataset: as the option says, if it does.
        model: the same.

    """
    from ilora_app.tasks import models, places

    named = {"dataset": dataset, "model": model}
    for pair in pairs:
        key, _, value = pair.partition("=")
        if key in named and {"dataset": dataset, "model": model}[key] is None:
            named[key] = value.strip("\"'")
    if config and None in named.values():
        found = _of_file(config)
        named = {key: found.get(key) if v is None else v for key, v in named.items()}
    data, weights = named["dataset"], named["model"]
    return [
        places.absent(data) if data else "",
        models.absent(weights) if weights else "",
    ]


def _of_file(config: str) -> dict[str, str]:
    from ilora_app.launch import config_files

    path = config_files.find(config)
    if isinstance(path, str):
        return {}
    found = config_files.read(path).settings
    return {key: value for key, value in found.items() if isinstance(value, str)}
