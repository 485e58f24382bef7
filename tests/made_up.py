"""Made-up run folders, to tell in advance what a comparison says of them."""

import csv
import json
from pathlib import Path
from typing import Any

from ilora_app.compare import results
from ilora_app.compare.jobs import FINISHED, Job, Record
from ilora_app.compare.plan import Entry, Plan
from ilora_app.compare.presets import Preset
from ilora_app.compare.rows import Row
from ilora_app.compare.sections import Section

DEFAULT = Preset("default", (), None, "default")


def entry(name: str = "ilora", preset: Preset = DEFAULT, **changes: Any) -> Entry:
    """A row under a preset; ``strategy`` is its name unless it is said."""
    settings = {"strategy": name.partition("+")[0], **changes}
    return Entry(preset, Row(name, tuple(settings.items())), 4, settings)


def plan(out: Path, *entries: Entry, rates=(0.003,), seeds=2, **more: Any) -> Plan:
    return Plan(out, entries, tuple(rates), tuple(range(seeds)), **more)


def record(job: Job, status: str = FINISHED, reason: str = "") -> Record:
    versions = {"python": "3.11", "flwr": "1.41"}
    return Record(
        status, reason, 60.0, "local", job.clients, dict(job.config), versions, "a CPU"
    )


def finish(job: Job, rows: list[dict[str, Any]], **baselines: float) -> None:
    """Make the folder of a finished run, with what it recorded of its data."""
    job.prepare()
    job.folder.mkdir(parents=True)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with (job.folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    if baselines:
        event = json.dumps({"event": "baselines", **baselines})
        (job.folder / "events.jsonl").write_text(event + "\n")
    job.close(record(job))


def rounds(*accuracies: float | str, megabytes: float = 1.0, **last: Any) -> list[dict]:
    """Rounds 0, 1, ... that send ``megabytes`` up and twice that down."""
    rows: list[dict] = [
        {"round": number, "accuracy": value} for number, value in enumerate(accuracies)
    ]
    for row in rows[1:]:
        row |= {"bytes_up": megabytes * 1e6, "bytes_down": 2e6 * megabytes}
        row |= {"seconds_aggregate": 0.5, "seconds_client_mean": 2.0}
    rows[-1] |= last
    return rows


def fail(job: Job, reason: str) -> None:
    job.prepare()
    job.close(record(job, "failed", reason))


def section_of(made: Plan, target: str = "auto") -> Section:
    """Summarise every row of a plan."""
    found = [results.summarise(made, one) for one in made.entries]
    return Section.of("default", found, target)
