"""The folder of the app for ``flwr run``: a copy, so that nothing else travels."""

import shutil
import tomllib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import tomli_w

from ilora_app.launch.paths import ROOT
from ilora_app.settings import Settings, parsing

_PACKAGE, PROJECT = "ilora_app", "pyproject.toml"
# What Flower sends to nodes: that of the repository, less what is not in a wheel, as
# Flower refuses a pattern that no file is of.
_TRAVELS = (
    "/ilora_app/**/*.py",
    "/ilora_app/data/**/*.jsonl",
    "/ilora_app/data/**/*.md",
)
_BESIDE = (PROJECT, "README.md", "LICENSE")


def copy_app(
    target: Path, run_config: Mapping[str, object], source: Path = ROOT
) -> None:
    """Copy the package and its pyproject.toml; one is written where it is installed.

    Args:
        target: what is in it is removed.
        run_config: keys in it that are a method's own are declared to Flower, which
            refuses others.
        source: folder with the package.

    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source / _PACKAGE, target / _PACKAGE, ignore=ignored)
    if is_repository(source):
        for name in _BESIDE:
            if (source / name).is_file():
                shutil.copy2(source / name, target / name)
    else:
        text = tomli_w.dumps(project())
        (target / PROJECT).write_text(text, encoding="utf-8")
    known = parsing.dump(Settings())
    own = {key: value for key, value in run_config.items() if key not in known}
    if own:
        file = target / PROJECT
        found = tomllib.loads(file.read_text(encoding="utf-8"))
        found["tool"]["flwr"]["app"]["config"] |= own
        file.write_text(tomli_w.dumps(found), encoding="utf-8")


def project() -> dict[str, Any]:
    """What Flower reads of pyproject.toml, from what is installed."""
    wanted = metadata.requires("ilora") or []
    return {
        "project": {
            "name": "ilora",
            "version": metadata.version("ilora"),
            "description": metadata.metadata("ilora")["Summary"],
            "license": "Apache-2.0",
            "dependencies": [line for line in wanted if "extra ==" not in line],
        },
        "tool": {
            "flwr": {
                "app": {
                    "publisher": "ilora",
                    "fab-include": list(_TRAVELS),
                    "components": {
                        "serverapp": "ilora_app.server_app:app",
                        "clientapp": "ilora_app.client_app:app",
                    },
                    "config": parsing.dump(Settings()),
                }
            }
        },
    }


def is_repository(source: Path) -> bool:
    """Whether the pyproject.toml beside the package is the app's own."""
    file = source / PROJECT
    return file.is_file() and "[tool.flwr.app]" in file.read_text(encoding="utf-8")
