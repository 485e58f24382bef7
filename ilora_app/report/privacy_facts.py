"""What a run shows of its nodes, as facts: the content of privacy.json.

Every claim follows the run's settings and what the run has recorded. What the run does
not know, such as TLS, is said to be so.
"""

from pathlib import Path
from typing import Any

from ilora_app.report import privacy_words as words
from ilora_app.report.membership import tested
from ilora_app.runs import payloads
from ilora_app.runs.places import from_home
from ilora_app.runs.reading import config_of, events_of, rows_of

VERSION = 1


def facts(folder: Path) -> dict[str, Any]:
    """Collect them; of a run that has just begun, too.

    Args:
        folder: of the run.

    """
    config, events, rows = config_of(folder), events_of(folder), rows_of(folder)
    members = [event for event in events if event.get("event") == "member"]
    keys = [e.get("key") for e in events if e.get("event") == "node-state"]
    erased = [e.get("time") for e in events if e.get("event") == "erased"]
    fewest = [row["clients"] for row in rows if row.get("clients")]
    return {
        "format": VERSION,
        "run": {
            "name": folder.name,
            "strategy": config.get("strategy"),
            "model": from_home(str(config.get("model", "unknown"))),
            "dataset": from_home(str(config.get("dataset", "unknown"))),
            "rounds": int(rows[-1]["round"]) if rows else 0,
            "of_rounds": config.get("num-server-rounds"),
            "nodes": len({e.get("identity") or e.get("node_id") for e in members}),
        },
        "differential_privacy": _private(config, rows),
        "single_updates": {
            "secure_aggregation": bool(config.get("secure-aggregation")),
            "seen": words.seen(config),
        },
        "transport": {"tls": None, "said": words.TRANSPORT},
        "identity": {
            "supernode_authentication": None,
            "said": words.identity([str(e.get("identity", "")) for e in members]),
        },
        "minimum_cohort": {
            "said": words.cohort(config),
            "fewest_in_a_round": min(fewest, default=None),
        },
        "data_dealt_by_server": any(e.get("partition") is not None for e in members),
        "stored": _stored(folder, config),
        "node_state": {
            "keys": list(dict.fromkeys(key for key in keys if key)),
            "holds": "what a node keeps for itself: its control variate, factors that "
            "it does not share, hashes of messages",
            "where": "on each node, in its state folder (state-path of its node "
            "config, else $ILORA_STATE, else ~/.ilora/nodes), under the key",
        },
        "erase": {"command": f"ilora runs erase {folder.name}", "erased": erased},
        "payload_hashes": {
            "algorithm": "SHA-256 of records, names, dtypes, shapes and bytes",
            "file": "events.jsonl",
            "rounds": payloads.count(events),
        },
        "membership_test": tested(folder),
        "not_protected": words.unprotected(config),
    }


def _private(config: dict[str, Any], rows: list[dict[str, float]]) -> dict[str, Any]:
    chosen = str(config.get("dp", "none"))
    unknown = (chosen, f"see {words.GUIDE}", f"see {words.GUIDE}")
    unit, accountant, sampling = words.UNITS.get(chosen, unknown)
    found: dict[str, Any] = {
        "unit": unit, "accountant": accountant, "sampling": sampling,
    }  # fmt: skip
    if chosen == "none":
        return {**found, "epsilon": None, "delta": None}
    # Of a kind that this page does not know it cannot say what no round has cost.
    nothing = 0.0 if chosen in words.UNITS else None
    noise = [row["noise_multiplier"] for row in rows if "noise_multiplier" in row]
    spent = [row["epsilon"] for row in rows if "epsilon" in row]
    return {
        **found,
        "epsilon": spent[-1] if spent else nothing,
        "delta": config.get("dp-delta"),
        "target_epsilon": config.get("dp-target-epsilon") or None,
        "noise_multiplier": noise[-1] if noise else None,
        "clip": config.get("dp-clip"),
        "releases": max([len(spent), *(int(row.get("releases", 0)) for row in rows)]),
    }


def _stored(folder: Path, config: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for name, what, goes in words.stored(config):
        there = list(folder.glob(name))
        files = [f for path in there for f in (path, *path.rglob("*")) if f.is_file()]
        found.append(
            {
                "name": name,
                "holds": what,
                "there": bool(files),
                "bytes": sum(file.stat().st_size for file in files),
                "erased_by_command": goes,
            }
        )
    return found
