"""Reads compose files and runs their services as processes of this machine.

Container paths become folders under a temporary one, services' names loopback, and
ports free ones; all else of a command, an environment and a health check is kept.
"""

import json
import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.deployment import ROOT
from tests.own_processes import BIN, free_port

DOCKER = ROOT / "docker"
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def env_file(path: Path) -> dict[str, str]:
    """Read a file of KEY=VALUE lines."""
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    pairs = [line.split("=", 1) for line in lines if not line.startswith("#")]
    return dict(pairs)


def load(name: str, variables: dict[str, str]) -> dict[str, Any]:
    """Read a compose file with its variables filled in."""

    def value(match: re.Match[str]) -> str:
        given, default = variables.get(match[1], ""), match[2]
        assert given or default is not None, f"{match[1]} has no value and no default"
        return given or default

    found: dict[str, Any] = yaml.safe_load(
        _VARIABLE.sub(value, (DOCKER / name).read_text())
    )
    return found


def order(services: dict[str, Any]) -> list[str]:
    """Names in the order of depends_on; services with a profile are not started."""
    started: list[str] = []
    left = [name for name, service in services.items() if "profiles" not in service]
    while left:
        ready = [
            n for n in left if set(services[n].get("depends_on", ())) <= {*started}
        ]
        assert ready, f"depends_on of {left} cannot be met"
        started += ready
        left = [name for name in left if name not in ready]
    return started


@dataclass
class Machine:
    """One machine that stands for all containers.

    Args:
        compose: a compose file, read.
        folder: for everything that containers would hold.

    """

    compose: dict[str, Any]
    folder: Path
    ports: dict[str, int] = field(default_factory=dict)

    def service(self, name: str) -> dict[str, Any]:
        return dict(self.compose["services"][name])

    def program(self, name: str) -> list[str]:
        """What the container starts without a command."""
        service = self.service(name)
        entry = service.get("entrypoint")
        return list(entry or entrypoint(service["build"]["target"]))

    def words(self, name: str, command: list[str] | None = None) -> list[str]:
        """The command of a service, or another in its place, on this machine."""
        given = self.service(name)["command"] if command is None else command
        words = [self.translate(name, word) for word in [*self.program(name), *given]]
        return [str(BIN / words[0]), *words[1:]]

    def health(self, name: str) -> list[str]:
        """The health check of a service on this machine."""
        kind, *words = self.service(name)["healthcheck"]["test"]
        assert kind == "CMD"
        words = [self.translate(name, word) for word in words]
        return [str(BIN / words[0]), *words[1:]]

    def environment(self, name: str) -> dict[str, str]:
        """The environment of a service, and what stands for its image's."""
        home = self.folder / "home" / name
        home.mkdir(parents=True, exist_ok=True)
        image = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "HOME": str(home)}
        if "PYTHONPATH" in os.environ:
            image["PYTHONPATH"] = os.environ["PYTHONPATH"]
        own = self.service(name).get("environment", {})
        return image | {k: self.translate(name, str(v)) for k, v in own.items()}

    def mounts(self, name: str) -> dict[str, Path]:
        """Folder or file on this machine of every path that a container mounts."""
        service = self.service(name)
        found = {"/app": ROOT}
        for volume in service.get("volumes", ()):
            source, target = volume.split(":")[:2]
            if source.startswith((".", "/")):
                found[target] = (DOCKER / source).resolve()
            else:
                assert source in self.compose["volumes"], source
                found[target] = self.folder / "volumes" / source
                found[target].mkdir(parents=True, exist_ok=True)
        for secret in service.get("secrets", ()):
            file = (DOCKER / self.compose["secrets"][secret]["file"]).resolve()
            found[f"/run/secrets/{secret}"] = file
        return found

    def translate(self, name: str, word: str) -> str:
        """Put this machine's paths, names and ports into a word."""
        # Longest first: a mount may lie in another.
        mounts = sorted(self.mounts(name).items(), key=lambda m: -len(m[0]))
        for target, source in mounts:
            word = re.sub(
                rf"(?<![\w/-]){re.escape(target)}(?![\w-])", str(source), word
            )
        word = re.sub(r"\b(superlink|host\.docker\.internal)(?=:\d)", "127.0.0.1", word)
        word = word.replace("0.0.0.0", "127.0.0.1")
        for port in ("9091", "9094"):
            key = port if port == "9091" else f"{name}:{port}"
            word = re.sub(rf"(?<!\d){port}(?!\d)", lambda _, k=key: self.port(k), word)
        return word

    def port(self, key: str) -> str:
        """A free port that stands for a container's."""
        return str(self.ports.setdefault(key, free_port()))

    def install_flower_config(self, name: str) -> None:
        """Copy a mounted config.toml to where it is mounted, with ports of here."""
        for target, source in self.mounts(name).items():
            if target.endswith("/config.toml"):
                text = self.translate(name, source.read_text())
                home = Path(self.environment(name)["FLWR_HOME"])
                home.mkdir(parents=True, exist_ok=True)
                (home / "config.toml").write_text(text)


def entrypoint(target: str) -> list[str]:
    """What an image of the Dockerfile starts."""
    stages = (DOCKER / "Dockerfile").read_text().split("\nFROM ")
    [stage] = [one for one in stages if one.partition("\n")[0].endswith(f" {target}")]
    [words] = re.findall(r"^ENTRYPOINT (\[.*\])$", stage, re.MULTILINE)
    return [str(word) for word in json.loads(words)]


def steps(dockerfile: Path) -> list[list[str]]:
    """Instructions of a Dockerfile, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE)
    joined = re.sub(r"\\\n", " ", text)
    return [shlex.split(line) for line in joined.splitlines() if line.strip()]
