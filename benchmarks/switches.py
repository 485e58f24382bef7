"""Which switches help ILoRA: each changed alone, on three data sets, paired by seed.

    python -m benchmarks.switches --out DIR --shared DATA [--workers 2] [--seeds 0]
        [--data intents,banking77,sst2] --only NAME [--only NAME ...] [--set KEY=JSON]

8 clients of ranks 2/4/8/16 twice, 8 rounds of 8 steps of 16 texts, one thread a run.
Evaluates on validation data: the test splits take no part in choosing.

intents: CLINC150's 150 intents, as packaged (validation split), Dirichlet 0.1.
banking77, sst2: DATA/banking77 and DATA/sst2, of whose training splits 1,000 rows are
    held out for validation; Dirichlet 0.1 and 0.5.

"paper" is the published cut and a trained head, with this app's control variates (from
local means, by examples, divided by holders).

Finished runs are kept in DIR/results.jsonl and not run again; without --only the table
of what is there is printed.
"""

import argparse
import json
import os
import statistics
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from benchmarks import laboratory

Config = dict[str, Any]

# Where a variant starts from: the head solved, what was learned is cut and added.
MENDED: Config = {
    "head": "ridge",
    "head-refit-every": 4,
    "cut": "update",
    "aggregate": "increments",
    "decomposition": "qr",
    "drift-correction": "none",
}
CONTROL: Config = {"drift-correction": "control-variates"}
PAPER: Config = {
    "head": "trained",
    "head-refit-every": 0,
    "cut": "product",
    "aggregate": "products",
    **CONTROL,
}
TRAINED: Config = {"head": "trained", "head-refit-every": 0}
FEDIT: Config = {"strategy": "fedit", "aggregate": "products", "decomposition": "svd"}
NO_DROPOUT: Config = {
    "aggregate": "products",
    "decomposition": "svd",
    "base-dropout": False,
}
# Every switch away from the start, one at a time.
VARIANTS: dict[str, Config] = {
    "mended": {},
    "paper": PAPER,
    "paper, no correction": {**PAPER, "drift-correction": "none"},
    "trained head": TRAINED,
    "trained head, control gradient": {**TRAINED, **CONTROL},
    "no refit": {"head-refit-every": 0},
    "refit every 2": {"head-refit-every": 2},
    "head-rate 0.1": {"head-rate": "0.1"},
    "cut product": {"cut": "product"},
    "aggregate products": {"aggregate": "products"},
    "cut product, aggregate products": {"cut": "product", "aggregate": "products"},
    "server-rate 1.5": {"server-rate": "1.5"},
    "server-rate 0.5": {"server-rate": "0.5"},
    "server-rate auto": {"server-rate": "auto"},
    "server-momentum 0.5": {"server-momentum": 0.5},
    "control gradient": CONTROL,
    "aggregate products, control gradient": {"aggregate": "products", **CONTROL},
    "aggregate products, rate 0.001": {"aggregate": "products", "learning-rate": 1e-3},
    "aggregate products, decomposition svd": {
        "aggregate": "products",
        "decomposition": "svd",
    },
    "products, svd, no base dropout": NO_DROPOUT,
    "products, svd, no base dropout, upper layers": {
        **NO_DROPOUT,
        "layers-to-transform": "-3,-2,-1",
    },
    "fedit, no base dropout": {**FEDIT, "base-dropout": False},
    "decomposition svd": {"decomposition": "svd"},
    "decomposition pivoted-qr": {"decomposition": "pivoted-qr"},
    "initialisation standard": {"initialisation": "standard"},
    "cosine": {"rate-schedule": "cosine"},
    "linear": {"rate-schedule": "linear"},
    "clip 1": {"clip-grad-norm": 1.0},
    "logit-adjustment 1": {"logit-adjustment": 1.0},
    "rate 0.001": {"learning-rate": 1e-3},
    "rate 0.006": {"learning-rate": 6e-3},
    "fedit, rate 0.001": {**FEDIT, "learning-rate": 1e-3},
    "fedit": FEDIT,
}
DATA: dict[str, Config] = {
    "intents": {
        "label-column": "intent",
        "test-split": "validation",
        "dirichlet-alpha": 0.1,
        "max-length": 32,
    },
    "banking77": {"dirichlet-alpha": 0.1, "max-length": 32},
    "sst2": {"dirichlet-alpha": 0.5, "max-length": 32},
}
COMMON: Config = {
    "num-server-rounds": 8,
    "local-steps": 8,
    "evaluate-every": 8,
    "fraction-evaluate": 0.0,
    "save-adapters": False,
    "report": False,
    "keep-checkpoints": 0,
}


def held_out(source: Path, folder: Path) -> Path:
    """1,000 rows of the training split to evaluate on, up to 5,000 others to train."""
    if not folder.exists():
        import datasets

        rows = datasets.load_dataset(str(source), split="train").shuffle(seed=0)
        folder.mkdir(parents=True)
        rows.select(range(1000)).to_parquet(folder / "test.parquet")
        rest = range(1000, min(6_000, len(rows)))
        rows.select(rest).to_parquet(folder / "train.parquet")
    return folder


def run_one(
    name: str, data: str, seed: int, config: Config, place: Path | None = None
) -> Config:
    """Run one job in this process, in ``place`` where its folder is to stay."""
    os.nice(19)
    found = laboratory.run(config | {"seed": seed}, place=place)
    measured = {r["round"]: r["accuracy"] for r in found["rows"] if "accuracy" in r}
    return {
        "variant": name,
        "data": data,
        "seed": seed,
        "accuracy": {str(number): value for number, value in measured.items()},
        "seconds": found["seconds"],
    }


def table(results: list[Config]) -> str:
    """One row a variant, by data set: mean, and difference to the start, paired."""
    sets = [name for name in DATA if any(r["data"] == name for r in results)]
    final = {
        (r["variant"], r["data"], r["seed"]): list(r["accuracy"].values())[-1]
        for r in results
    }
    lines = [
        "| variant | " + " | ".join(sets) + " |",
        "|---" * (1 + len(sets)) + "|",
    ]
    there = {variant for variant, _, _ in final}  # some of switches that are gone
    for name in [n for n in (*VARIANTS, *sorted(there - set(VARIANTS))) if n in there]:
        cells = []
        for data in sets:
            seeds = [s for n, d, s in final if (n, d) == (name, data)]
            if not seeds:
                cells.append("")
                continue
            mean = statistics.fmean(final[name, data, s] for s in seeds)
            pairs = [
                final[name, data, s] - final["mended", data, s]
                for s in seeds
                if ("mended", data, s) in final
            ]
            text = f"{mean:.3f}"
            if pairs and name != "mended":
                text += f" ({statistics.fmean(pairs):+.3f}"
                if len(pairs) > 1:
                    text += f" ± {statistics.stdev(pairs):.3f}"
                text += ")"
            cells.append(f"{text}, {len(seeds)}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shared", type=Path)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", action="append", default=[], help="a variant")
    parser.add_argument("--data", default="intents")
    parser.add_argument("--set", action="append", default=[], help="KEY=JSON for all")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "results.jsonl"
    results = (
        [json.loads(x) for x in file.read_text().splitlines()] if file.exists() else []
    )
    done = {(r["variant"], r["data"], r["seed"]) for r in results}
    common = COMMON | {
        k: json.loads(v) for k, v in (s.split("=", 1) for s in options.set)
    }
    wanted = [
        (name, data, seed)
        for seed in map(int, options.seeds.split(","))
        for data in options.data.split(",")
        for name in options.only
        if (name, data, seed) not in done
    ]
    with ProcessPoolExecutor(options.workers) as pool:
        jobs = []
        for name, data, seed in wanted:
            config = MENDED | DATA[data] | common | VARIANTS[name]
            if data != "intents":
                source = options.shared / data
                config["dataset"] = str(held_out(source, options.out / data))
            jobs.append(pool.submit(run_one, name, data, seed, config))
        for job in as_completed(jobs):
            results.append(job.result())
            with file.open("a") as out:
                out.write(json.dumps(results[-1]) + "\n")
            print(json.dumps(results[-1]), flush=True)
    print(table(results))


if __name__ == "__main__":
    main()
