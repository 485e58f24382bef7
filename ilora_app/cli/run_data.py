"""The data of ``ilora run`` by its name, before anything that takes time is loaded."""

from collections.abc import Sequence


def absent(config: str, pairs: Sequence[str], dataset: str | None) -> str:
    """Say that the data is neither here nor on the hub; empty where it may be.

    Args:
        config: preset or config file; empty for neither.
        pairs: KEY=VALUE of the run config.
        dataset: as the option says, if it does.

    """
    from ilora_app.launch import config_files
    from ilora_app.tasks import places

    name = dataset
    for pair in pairs if name is None else ():
        key, _, value = pair.partition("=")
        name = value.strip("\"'") if key == "dataset" else name
    if name is None and config:
        path = config_files.find(config)
        if not isinstance(path, str):
            found = config_files.read(path).settings.get("dataset")
            name = found if isinstance(found, str) else None
    return places.absent(name) if name else ""
