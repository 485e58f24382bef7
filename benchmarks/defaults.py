"""Which switches are best: each one changed alone, on two data sets, three seeds.

    python benchmarks/defaults.py --out DIR [--shared DIR] [--seeds 3] [--workers 2]
        [--only NAME,NAME] [--data clinc150,ag_news]

Runs the default job (8 clients of ranks 2/4/8/16 twice, Dirichlet 0.3), one thread a
process, and evaluates on validation data: the test split takes no part in choosing. A
second data set comes from --shared (a folder with ag_news/): 3 rounds of 10 steps,
texts cut at 24 tokens.
Finished runs are kept in DIR/results.jsonl and not run again.
"""

import argparse
import json
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

Config = dict[str, Any]

# Every switch away from its default, one at a time.
VARIANTS: dict[str, Config] = {
    "default": {},
    "drift-correction none": {"drift-correction": "none"},
    "control-scope head": {"control-scope": "head"},
    "control-scope factors": {"control-scope": "factors"},
    "control-normalisation all": {"control-normalisation": "all"},
    "control-basis rotate": {"control-basis": "rotate"},
    "init-gain scaled": {"init-gain": "scaled"},
    "decomposition pivoted-qr": {"decomposition": "pivoted-qr"},
    "decomposition svd": {"decomposition": "svd"},
    "control-estimator full-pass": {"control-estimator": "full-pass"},
}
RATES: dict[str, Config] = {
    f"learning-rate {rate:g}": {"learning-rate": rate}
    for rate in (1.5e-3, 3e-3, 6e-3, 1.2e-2)
}
MODEL: dict[str, Config] = {
    "modules-to-save classifier": {"modules-to-save": "classifier"},
    "lora-scaling 1": {"lora-scaling": 1.0},
    "lora-scaling 4": {"lora-scaling": 4.0},
    "lora-dropout 0.1": {"lora-dropout": 0.1},
}
ALL = VARIANTS | RATES | MODEL


def data_sets(shared: Path | None, out: Path) -> dict[str, Config]:
    """Run config of each data set, evaluated on data that is not its test split."""
    sets: dict[str, Config] = {"clinc150": {"test-split": "validation"}}
    if shared:
        sets["ag_news"] = {
            "dataset": str(_part_of_training(shared / "ag_news", out / "ag_news")),
            "label-column": "label",
            "num-server-rounds": 3,
            "local-steps": 10,
            "max-length": 24,
        }
    return sets


def _part_of_training(source: Path, folder: Path) -> Path:
    """5,000 rows of the training split to train on, 1,000 others to evaluate on."""
    if not folder.exists():
        import datasets

        rows = datasets.load_dataset(str(source), split="train").shuffle(seed=0)
        folder.mkdir(parents=True)
        rows.select(range(5000)).to_parquet(folder / "train.parquet")
        rows.select(range(5000, 6000)).to_parquet(folder / "test.parquet")
    return folder


def run_one(name: str, data: str, seed: int, changes: Config) -> Config:
    """Run one job in this process and return what it came to."""
    import torch

    torch.set_num_threads(1)
    from flwr.app import Context, RecordDict

    from ilora_app import client_app
    from ilora_app.launch.local_grid import LocalGrid
    from ilora_app.server import enrolment, preflight
    from ilora_app.server.run import Server
    from ilora_app.settings import Settings, parsing

    clock = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run_config = parsing.dump(Settings()) | {
            "fraction-evaluate": 0.0,
            # Only the final global model is read; evaluating does not touch training.
            "evaluate-every": 10_000,
            "save-adapters": False,
            "report": False,
            "keep-checkpoints": 0,
            **changes,
            "seed": seed,
            "output-dir": folder + "/run",
        }
        grid = LocalGrid(client_app.app, run_config, nodes=8)
        context = Context(1, 0, {}, RecordDict(), run_config)
        prepared = preflight.prepare(context.run_config)
        membership = enrolment.meet(grid, prepared)
        last = Server(prepared, membership, grid, run_id=1).run()[-1]
        found = {name: last[name] for name in ("loss", "accuracy", "f1")}
    return {
        "variant": name,
        "data": data,
        "seed": seed,
        **found,
        "seconds": round(time.perf_counter() - clock, 1),
    }


def table(results: list[Config]) -> str:
    """One row a variant: mean and standard deviation over seeds, by data set."""
    sets = sorted({r["data"] for r in results})
    lines = [
        "| variant | " + " | ".join(sets) + " |",
        "|---" * (1 + len(sets)) + "|",
    ]
    for name in [n for n in ALL if any(r["variant"] == n for r in results)]:
        cells = []
        for data in sets:
            found = [r for r in results if r["variant"] == name and r["data"] == data]
            values = [r["accuracy"] for r in found]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            mean = statistics.fmean(values) if values else float("nan")
            cells.append(f"{mean:.4f} ± {spread:.4f} ({len(values)})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shared", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", default="")
    parser.add_argument("--data", default="")
    parser.add_argument("--set", action="append", default=[], help="KEY=JSON for all")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "results.jsonl"
    results = (
        [json.loads(x) for x in file.read_text().splitlines()] if file.exists() else []
    )
    done = {(r["variant"], r["data"], r["seed"]) for r in results}
    common = {k: json.loads(v) for k, v in (s.split("=", 1) for s in options.set)}
    sets = data_sets(options.shared, options.out)
    wanted = [
        (name, data, seed)
        for data in (options.data.split(",") if options.data else sets)
        for seed in range(options.seeds)
        for name in (options.only.split(",") if options.only else VARIANTS)
        if (name, data, seed) not in done
    ]
    with ProcessPoolExecutor(options.workers) as pool:
        jobs = [
            pool.submit(run_one, n, d, s, sets[d] | common | ALL[n])
            for n, d, s in wanted
        ]
        for job in jobs:
            results.append(job.result())
            with file.open("a") as out:
                out.write(json.dumps(results[-1]) + "\n")
            print(json.dumps(results[-1]), flush=True)
    print(table(results))


if __name__ == "__main__":
    main()
