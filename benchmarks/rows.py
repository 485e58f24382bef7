"""Rows of a benchmark: what was measured, beside what, and if a target is met."""

import json
import platform
import time
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import torch

PACKAGES = ("ilora", "flwr", "torch", "transformers", "peft", "ray", "numpy")


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        what: was measured.
        value: with its unit.
        against: what it is compared with.
        ratio: of the two, as the target speaks of it; None where there is none.
        target: a bound of the ratio, such as ">= 0.97"; empty: none.

    """

    what: str
    value: str
    against: str = ""
    ratio: float | None = None
    target: str = ""

    @property
    def meets(self) -> bool | None:
        """Whether the ratio meets the target; None where there is none."""
        if self.ratio is None or not self.target:
            return None
        sign, bound = self.target.split()
        return (
            self.ratio >= float(bound) if sign == ">=" else self.ratio <= float(bound)
        )


def report(name: str, rows: list[Row], out: Path | None) -> None:
    """Print rows as a table, and write them as JSON with what they were measured on."""
    print("| what | value | against | ratio | target | met |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
        met = {None: "", True: "yes", False: "NO"}[row.meets]
        cells = (row.what, row.value, row.against, ratio, row.target, met)
        print("| " + " | ".join(cells) + " |", flush=True)
    if out is None:
        return
    found = {
        "benchmark": name,
        "date": time.strftime("%Y-%m-%d"),
        "hardware": hardware(),
        "versions": versions(),
        "rows": [{**asdict(row), "meets": row.meets} for row in rows],
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n")


def hardware() -> str:
    """The graphics card where there is one, else the processor; and its threads."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    model = " ".join(names[0].split()) if names else platform.machine()
    return f"{model}, {torch.get_num_threads()} threads"


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
