"""What ``ilora run`` is asked for, from the words of the command to a run config."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from ilora_app.cli import run_checks
from ilora_app.compare import run_config
from ilora_app.compare.presets import Preset, read_preset
from ilora_app.launch.config_files import PLACES, absolute, find
from ilora_app.runs import history
from ilora_app.runs.places import LATEST
from ilora_app.settings import Settings, options, parsing

CLIENTS = 8
_MOST = 800  # letters of a line for people


def _short(text: str) -> str:
    """A mistake without the middle of a value that fills pages."""
    if len(text) <= _MOST:
        return text
    return f"{text[: _MOST // 2]} ... {text[-_MOST // 2 :]}"


class RequestError(ValueError):
    """One message that lists every mistake of a request."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        lines = "".join(f"\n  - {_short(problem)}" for problem in problems)
        number = parsing.count(len(problems), "mistake")
        super().__init__(f"the command has {number}, and nothing was run:{lines}")


@dataclass(frozen=True)
class Request:
    """The options of ``ilora run``, as they were given.

    Args:
        preset: name of a preset, or path of a config file; empty for neither.
        pairs: KEY=VALUE; they win over the preset.
        options: run-config keys that have an option of their own; these win over all.
        clients, cpus, gpus: of the simulation; None where not given.
        ray_address: of a Ray cluster that is there; empty starts one.
        simulated: False leaves the federation to a SuperLink that is there.
        notes: on the data, as :meth:`resolve` finds them.

    """

    preset: str = ""
    pairs: tuple[str, ...] = ()
    options: Mapping[str, object] = field(default_factory=dict)
    clients: int | None = None
    cpus: float | None = None
    gpus: float | None = None
    simulated: bool = True
    ray_address: str = ""
    notes: list[str] = field(default_factory=list)

    def read(self) -> tuple[dict[str, object], Settings, int]:
        """Make the run config, as given and as parsed, and count the clients.

        Raises:
            RequestError: with every mistake in keys and values.

        """
        settings, parsed, _, clients, problems = self._read()
        if problems:
            raise RequestError(problems)
        return settings, parsed, clients

    def early(self) -> list[str]:
        """Find every mistake in words, keys, values and folders: torch is not loaded.

        What makes no sense together, and what is wrong with the data, takes longer.
        """
        _, parsed, wrong, clients, problems = self._read()
        return problems + self._early(parsed, wrong, clients)

    def resolve(self) -> tuple[dict[str, object], str]:
        """Make the run config, and the federation config for ``flwr run``.

        Raises:
            RequestError: with every mistake.

        """
        settings, parsed, wrong, clients, problems = self._read()
        problems += run_checks.method(parsed, wrong)
        problems += self._early(parsed, wrong, clients)
        if self.simulated:
            wrong_data, self.notes[:] = run_checks.data(parsed, wrong)
            problems += wrong_data
        if problems:
            raise RequestError(problems)
        return settings, self._federation(clients)

    def _early(self, parsed: Settings, wrong: set[str], clients: int) -> list[str]:
        """Mistakes in folders and in the federation."""
        problems: list[str] = []
        if self.simulated:
            # Those of a SuperLink that is there are folders of its machine.
            problems += run_checks.folders(parsed)
            problems += run_checks.model(parsed, wrong)
        least, key = parsed.least_nodes
        if self.simulated and 0 < clients < least and key not in wrong:
            right = f"{least} or more, as {key} = {least}"
            problems.append(f"--clients {clients}: expected {right}")
        if self.ray_address:
            problems += run_checks.ray(self.ray_address, self.simulated)
        return problems

    def _read(self) -> tuple[dict[str, object], Settings, set[str], int, list[str]]:
        """Run config, parsed too, keys with wrong values, clients, all mistakes."""
        preset, problems = self._preset()
        settings = dict(preset.settings)
        for pair in self.pairs:
            key, equals, text = pair.partition("=")
            if not equals or not key:
                problems.append(f"--set {pair[:100]!r}: expected KEY=VALUE")
            else:
                settings[key] = parsing.value_of(key, text)
        settings |= self.options
        given = {pair.partition("=")[0] for pair in self.pairs} | set(self.options)
        for key in PLACES:
            # Those of a file are of its own folder, and absolute already.
            if key in given and isinstance(value := settings.get(key), str):
                by_id = key == "resume" and self.simulated
                settings[key] = absolute(key, _by_id(value) if by_id else value)
        parsed, wrong = run_config.parse(settings)
        problems += wrong.values()
        if self.clients is not None and self.clients < 1:
            problems.append(f"--clients {self.clients}: expected 1 or more")
        for name, value in (("--cpus", self.cpus), ("--gpus", self.gpus)):
            if value is not None and not 0 <= value < float("inf"):
                problems.append(f"{name} {value:g}: expected 0 or more")
        clients = self.clients or preset.clients or CLIENTS
        return settings, parsed, set(wrong), clients, problems

    def _preset(self) -> tuple[Preset, list[str]]:
        nothing = Preset("", ())
        if not self.preset:
            return nothing, []
        path = find(self.preset)
        if isinstance(path, str):
            return nothing, [f"--config {self.preset!r}: {path}"]
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


def _by_id(run: str) -> str:
    """Folder of a run that goes by its id, or by a beginning that no other has."""
    if run == LATEST or not run.strip() or options.folder(run).is_dir():
        return run
    with suppress(history.HistoryError):
        return str(history.find(run, history.default_root()))
    return run


def title_of(settings: Mapping[str, object]) -> str:
    """Say in a few words what is run."""
    whole = parsing.dump(Settings()) | dict(settings)
    names = [str(whole[key]).rstrip("/").split("/")[-1] for key in ("model", "dataset")]
    return f"{whole['strategy']}: {' on '.join(names)}"
