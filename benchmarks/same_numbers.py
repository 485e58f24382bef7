"""Fingerprints of what runs come to: whether a change of the code changed a number.

    python benchmarks/same_numbers.py OUT            # runs, and writes OUT/numbers.json
    python benchmarks/same_numbers.py OUT --against OTHER/numbers.json

Runs, on the packaged data and model, every strategy for two rounds with and without
control variates, the default job, and a run that is interrupted and resumed; takes the
SHA-256 of each metrics.csv without its seconds, and of each adapter. The second form
exits with 1 where one differs. About ten minutes on 2 cores.
"""

import argparse
import csv
import hashlib
import json
import subprocess
import sys
from pathlib import Path

ILORA = (sys.executable, "-c", "from ilora_app.cli import app; app()")
SHORT = (
    "num-server-rounds=2", "local-steps=4", "batch-size=8", "report=false",
    "test-examples=200", "keep-checkpoints=1",
)  # fmt: skip


def ilora(*words: object) -> None:
    """Run the command; what it says goes to stderr."""
    subprocess.run([*ILORA, *map(str, words)], check=True, stdout=sys.stderr)


def compare(out: Path, rows: str, clients: int, settings: tuple[str, ...]) -> None:
    """Run rows of a comparison without Ray, one seed and one rate each."""
    pairs = [word for pair in settings for word in ("--set", pair)]
    ilora(
        "compare", "--strategies", rows, "--seeds", 1, "--lr", 0.003, "--engine",
        "local", "--clients", clients, "--out", out, *pairs,
    )  # fmt: skip


def run_all(out: Path) -> None:
    """Run everything into folders of ``out``."""
    compare(out / "plain", "all", 4, SHORT)
    variants = (
        "all+drift-correction=control-variates,ilora+control-basis=rotate,"
        "ilora+control-estimator=full-pass,ilora+residual=merge,ilora+initialisation="
        "standard,ilora+decomposition=svd,ilora+init-gain=scaled,fedit+initialisation="
        "qr,ilora+fraction-train=0.5,ilora+evaluate-on=train"
    )
    compare(out / "variants", variants, 4, SHORT)
    compare(out / "default", "ilora", 8, ("report=false",))
    folder = out / "resumed" / "run"
    short = ("--set", "local-steps=4", "--set", "report=false", "--clients", 4)
    ilora("run", "--rounds", 1, "--out", folder, *short)
    ilora("run", "--rounds", 3, "--resume", folder, *short)


def numbers_of(folder: Path) -> str:
    """SHA-256 of metrics.csv without seconds."""
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    kept = [
        [(key, row[key]) for key in sorted(row) if not key.startswith("seconds")]
        for row in rows
    ]
    return hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:16]


def fingerprints(out: Path) -> dict[str, str]:
    """Name -> fingerprint, of every run and of every adapter in it."""
    found = {}
    for metrics in sorted(out.rglob("metrics.csv")):
        folder = metrics.parent
        name = folder.relative_to(out).as_posix()
        found[name] = numbers_of(folder)
        for weights in sorted(folder.rglob("*.safetensors")):
            if "checkpoints" not in weights.parts:
                part = weights.relative_to(folder).as_posix()
                digest = hashlib.sha256(weights.read_bytes()).hexdigest()
                found[f"{name}/{part}"] = digest[:16]
    return found


def main() -> None:
    """Run what is not there yet, write the fingerprints, and compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--against", type=Path)
    asked = parser.parse_args()
    out = asked.out.resolve()
    if not (out / "numbers.json").is_file():
        run_all(out)
        text = json.dumps(fingerprints(out), indent=1)
        (out / "numbers.json").write_text(text + "\n", encoding="utf-8")
    found = json.loads((out / "numbers.json").read_text(encoding="utf-8"))
    print(f"{len(found)} fingerprints in {out / 'numbers.json'}")
    if asked.against is None:
        return
    other = json.loads(asked.against.read_text(encoding="utf-8"))
    differ = [n for n in {**found, **other} if found.get(n) != other.get(n)]
    for name in differ:
        print(f"differs: {name}: {found.get(name)}, there {other.get(name)}")
    print(f"{len(differ)} of {len(other)} differ")
    sys.exit(bool(differ))


if __name__ == "__main__":
    main()
