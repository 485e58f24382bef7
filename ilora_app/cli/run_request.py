"""What ``ilora run`` is asked for, from the words of the command to a run config."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ilora_app import methods
from ilora_app.cli import run_checks
from ilora_app.compare.presets import Preset, read_preset
from ilora_app.launch.paths import CONFIGS, presets
from ilora_app.runs.resume import LATEST
from ilora_app.settings import Settings, options, parsing

CLIENTS = 8
_FOLDERS = ("model", "dataset", "output-dir", "resume")


class RequestError(ValueError):
    """One message that lists every mistake of a request."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        lines = "".join(f"\n  - {problem}" for problem in problems)
        number = parsing.count(len(problems), "mistake")
        super().__init__(f"the command has {number}, and nothing was run:{lines}")


@dataclass(frozen=True)
class Request:
    """The options of ``ilora run``, as they were given.

    Args:
        preset: name of a preset, or path of a .toml file; empty for neither.
        pairs: KEY=VALUE; they win over the preset.
        options: run-config keys that have an option of their own; these win over all.
        clients, cpus, gpus: of the simulation; None where not given.
        simulated: False leaves the federation to a SuperLink that is there.

    """

    preset: str = ""
    pairs: tuple[str, ...] = ()
    options: Mapping[str, object] = field(default_factory=dict)
    clients: int | None = None
    cpus: float | None = None
    gpus: float | None = None
    simulated: bool = True

    def resolve(self) -> tuple[dict[str, object], str]:
        """Make the run config, and the federation config for ``flwr run``.

        Raises:
            RequestError: with every mistake.

        """
        preset, problems = self._preset()
        settings = dict(preset.settings)
        for pair in self.pairs:
            key, equals, text = pair.partition("=")
            if not equals or not key:
                problems.append(f"--set {pair!r}: expected KEY=VALUE")
            else:
                settings[key] = parsing.value_of(key, text)
        settings |= self.options
        for key in _FOLDERS:
            if isinstance(value := settings.get(key), str):
                settings[key] = absolute(key, value)
        parsed, wrong = methods.parse(settings)
        problems += wrong.values()
        problems += run_checks.method(parsed, set(wrong))
        if self.simulated:
            # Those of a SuperLink that is there are folders of its machine.
            problems += run_checks.folders(parsed)
        if self.clients is not None and self.clients < 1:
            problems.append(f"--clients {self.clients}: expected 1 or more")
        for name, value in (("--cpus", self.cpus), ("--gpus", self.gpus)):
            if value is not None and not 0 <= value < float("inf"):
                problems.append(f"{name} {value:g}: expected 0 or more")
        clients = self.clients or preset.clients or CLIENTS
        least = parsed.run.min_available_nodes
        if self.simulated and 0 < clients < least and not problems:
            right = f"{least} or more, as min-available-nodes = {least}"
            problems.append(f"--clients {clients}: expected {right}")
        if problems:
            raise RequestError(problems)
        return settings, self._federation(clients)

    def _preset(self) -> tuple[Preset, list[str]]:
        nothing = Preset("", ())
        if not self.preset:
            return nothing, []
        path = options.folder(self.preset)
        if path.suffix != ".toml":
            path = CONFIGS / f"{self.preset}.toml"
        if not path.is_file():
            known = ", ".join(presets())
            right = f"the path of a .toml file{', or one of ' if known else ''}{known}"
            return nothing, [f"--config {self.preset!r}: expected {right}"]
        preset, wrong = read_preset(path)
        if wrong and not preset.settings:
            return preset, [f"{path}: {problem}" for problem in wrong]
        # Wrong values are found again with all others, unless another took their place.
        return preset, []

    def _federation(self, clients: int) -> str:
        given = {
            "num-supernodes": self.clients,
            "client-resources-num-cpus": self.cpus,
            "client-resources-num-gpus": self.gpus,
        }
        if self.simulated:
            given["num-supernodes"] = clients
            given["client-resources-num-cpus"] = 1 if self.cpus is None else self.cpus
        return " ".join(
            f"{key}={value:g}" for key, value in given.items() if value is not None
        )


def absolute(key: str, value: str) -> str:
    """Make a folder absolute: the app has no working directory.

    A name that may be that of a hub or of a package stays as it is, unless it has a
    slash and there is such a folder here.
    """
    if not value or value.startswith("$") or (key == "resume" and value == LATEST):
        return value
    if options.place(value):  # no system can look for it
        return value
    path = options.folder(value)
    written_as_path = value.startswith((".", "/", "~"))
    if key in ("output-dir", "resume") or written_as_path:
        return str(path.resolve())
    return str(path.resolve()) if "/" in value and path.is_dir() else value


def title_of(settings: Mapping[str, object]) -> str:
    """Say in a few words what is run."""
    whole = parsing.dump(Settings()) | dict(settings)
    names = [str(whole[key]).rstrip("/").split("/")[-1] for key in ("model", "dataset")]
    return f"{whole['strategy']}: {' on '.join(names)}"
