"""What a comparison is asked for, from the words of the command to a plan."""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ilora_app.compare import presets, rows
from ilora_app.compare.presets import Preset, load_presets
from ilora_app.compare.rows import Config, Row, parse_pairs, parse_rows
from ilora_app.launch.paths import CONFIGS
from ilora_app.runs.places import from_home
from ilora_app.settings.parsing import count

if TYPE_CHECKING:
    from ilora_app.compare.grid import Grid
    from ilora_app.compare.plan import Plan

FILE = "compare.json"


class RequestError(ValueError):
    """One message that lists every mistake of a request."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        lines = "".join(f"\n  - {problem}" for problem in problems)
        number = count(len(problems), "mistake")
        super().__init__(f"the comparison has {number}, and nothing was run:{lines}")


@dataclass(frozen=True)
class Request:
    """The options of ``ilora compare``, as they were given.

    Args:
        strategies: ``NAME[+KEY=VALUE]...[,...]`` or ``all``.
        presets: names of presets, or paths.
        seeds: how many.
        lr: learning rates.
        select_seeds: how many of the seeds choose the rate.
        lr_from: preset whose rates all presets use.
        lr_search: ``all`` rates, or those ``near`` a row's best.
        set: ``KEY=VALUE`` for all runs.
        clients: how many, over those of the presets.
        target: an accuracy, or ``auto``.
        lr_finalists: how many of a row's best rates are run with all seeds.
        grid: ``strategy x KEY`` runs every strategy with every value of a setting.
        engine: that runs it.
        workers: processes of the local engine; None: one a core.
        configs: folder of the presets.

    """

    strategies: str = "all"
    presets: str = "default"
    seeds: int = 3
    lr: str = "0.001,0.003,0.01"
    select_seeds: int = 1
    lr_from: str = ""
    set: tuple[str, ...] = ()
    clients: int | None = None
    target: str = "auto"
    lr_search: str = "all"
    lr_finalists: int = 1
    grid: str = ""
    engine: str = "ray"
    workers: int | None = None
    configs: str = str(CONFIGS)

    def placed(self) -> "Request":
        """The same with absolute paths of files: it can be asked for from anywhere."""
        pairs = tuple(map(rows.placed, self.set))
        return replace(self, presets=presets.placed(self.presets), set=pairs)

    def check(self) -> tuple[list[Preset], list[Row], Config, tuple[float, ...]]:
        """Read the options, without what takes time to load.

        Returns:
            Presets, rows, settings for all, learning rates.

        Raises:
            RequestError: with every mistake in keys, values and names.

        """
        found, problems = load_presets(self.presets, Path(self.configs))
        asked, wrong = parse_rows(self.strategies)
        try:
            asked = self.cells.rows(asked) if self.cells else asked
        except ValueError as error:
            problems.append(str(error))
        settings, wrong_pairs = parse_pairs(list(self.set), "--set")
        problems += wrong + wrong_pairs
        rates = self._rates(problems)
        if self.seeds < 1:
            problems.append(f"--seeds {self.seeds}: expected 1 or more")
        if not 1 <= self.select_seeds <= max(self.seeds, 1):
            right = f"1 to {max(self.seeds, 1)}, the number of seeds"
            problems.append(f"--select-seeds {self.select_seeds}: expected {right}")
        if self.lr_finalists < 1:
            problems.append(f"--lr-finalists {self.lr_finalists}: expected 1 or more")
        if self.clients is not None and self.clients < 1:
            problems.append(f"--clients {self.clients}: expected 1 or more")
        names = [preset.name for preset in found]
        if self.lr_from and self.lr_from not in names:
            right = f"one of --presets: {', '.join(names)}"
            problems.append(f"--lr-from {self.lr_from}: expected {right}")
        if self.target != "auto" and not _is_part(self.target):
            right = "auto, or an accuracy between 0 and 1"
            problems.append(f"--target {self.target}: expected {right}")
        if problems:
            raise RequestError(problems)
        return found, asked, settings, rates

    def plan(self, out: Path) -> "tuple[Plan, list[str]]":
        """Make the plan.

        Returns:
            The plan, and what was left out because it cannot be had.

        Raises:
            RequestError: with every mistake, those of :meth:`check` before the others.

        """
        found, asked, settings, grid = self.check()
        from ilora_app.compare import rates
        from ilora_app.compare.entries import make_entries
        from ilora_app.compare.plan import Plan

        entries, problems, left_out = make_entries(
            found, asked, settings, self.clients, probe=True
        )
        if not entries and not problems:
            problems = left_out
        if problems:
            raise RequestError(problems)
        plan = Plan(
            out,
            tuple(entries),
            grid,
            tuple(range(self.seeds)),
            self.select_seeds,
            self.lr_from or None,
            self.lr_search == "near",
            self.lr_finalists,
        )
        if problems := rates.problems(plan):
            raise RequestError(problems)
        return plan, left_out

    @property
    def cells(self) -> "Grid | None":
        """The grid that is asked for.

        Raises:
            ValueError: there is no such grid.

        """
        if not self.grid:
            return None
        from ilora_app.compare.grid import Grid

        return Grid.parse(self.grid)

    def save(self, out: Path) -> None:
        """Write it into the comparison's folder."""
        kept = {k: v for k, v in asdict(self).items() if k != "configs"}
        text = json.dumps(kept, indent=1)
        (out / FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, out: Path) -> "Request":
        """Read what a comparison's folder was made with.

        Raises:
            RequestError: there is none, or it cannot be read.

        """
        file = out / FILE
        try:
            found: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            made = cls(**{**found, "set": tuple(found["set"])})
            made._check_types()
            return made
        except OSError as error:
            raise RequestError([f"--out {out}: no comparison is in it"]) from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            right = "expected what a comparison of this version has written there"
            raise RequestError([f"{file} cannot be read ({error}): {right}"]) from error

    def _check_types(self) -> None:
        """Raise TypeError where a file holds other kinds of values than options are."""
        texts = all(isinstance(pair, str) for pair in self.set)
        for name, default in asdict(Request()).items():
            value = getattr(self, name)
            right = (int, type(None)) if default is None else (type(default),)
            if type(value) not in right or not (texts or name != "set"):
                raise TypeError(f"{name} is {value!r}")

    def command(self, out: Path | None = None) -> str:
        """The command that asks for it, into a folder of that name."""
        words = [f"--strategies {_quoted(self.strategies)}"]
        words += [f"--presets {_quoted(self.presets)}", f"--seeds {self.seeds}"]
        words.append(f"--lr {_quoted(self.lr)}")
        given, default = asdict(self), asdict(Request())
        for key in (
            "select_seeds",
            "lr_from",
            "lr_search",
            "lr_finalists",
            "clients",
            "target",
            "engine",
            "workers",
        ):
            if given[key] != default[key]:
                words.append(f"--{key.replace('_', '-')} {given[key]}")
        if self.grid:
            words.append(f"--grid {_quoted(self.grid)}")
        words += [f"--set {_quoted(pair)}" for pair in self.set]
        words += [f"--out {_quoted(out.name)}"] if out else []
        return " ".join(["ilora compare", *words])

    def _rates(self, problems: list[str]) -> tuple[float, ...]:
        rates = []
        for part in self.lr.split(","):
            try:
                rate = float(part)
            except ValueError:
                rate = -1.0
            if not 0 < rate < float("inf"):
                problems.append(f"--lr {part.strip()!r}: expected a number above 0")
            rates.append(rate)
        return tuple(dict.fromkeys(rates))


def _is_part(text: str) -> bool:
    try:
        return 0 < float(text) <= 1
    except ValueError:
        return False


def _quoted(text: str) -> str:
    text = from_home(text)  # which this app reads in quotes, too
    return text if re.fullmatch(r"[\w.,:/=+-]+", text) else shlex.quote(text)
