"""The benchmarks run: on small sizes, for their form and not for their numbers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import live_panel
from ilora_app.compare import tables
from ilora_app.methods import METHODS
from tests.made_up import entry, finish, plan, rounds, section_of
from tests.own_processes import free_port

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def call(*words: str) -> str:
    command = [sys.executable, *words]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=BENCHMARKS.parent
    )
    return done.stdout


def test_truncation_prints_a_ratio_for_every_method():
    sizes = ("--size", "96", "--rho", "12", "--rank", "4", "--threads", "1")
    rows = call(str(BENCHMARKS / "truncation.py"), *sizes).splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == ["qr", "pivoted-qr", "svd"]
    assert float(rows[0].split("|")[5]) < 1e-3


def test_training_prints_a_row_for_every_measurement(tmp_path):
    words = ["--models", "tiny", "--equality", "tiny", "--steps", "1", "--turns", "2"]
    printed = call("-m", "benchmarks.training", *words, "--out", str(tmp_path))
    found = json.loads((tmp_path / "training.json").read_text())
    for row in found["rows"]:
        assert f"| {row['what']} | {row['value']} | {row['against']} | " in printed
    equal = [r for r in found["rows"] if "difference" in r["what"] and r["target"]]
    assert equal
    assert all(row["meets"] for row in equal)  # these are no times
    assert found["versions"]["torch"]


def test_aggregation_prints_rows_beside_dense_decompositions(tmp_path):
    out = tmp_path / "costs.json"
    call(
        "-m", "benchmarks.aggregation", "--quick", "--rows", "layer", "--json", str(out)
    )
    rows = json.loads(out.read_text())["rows"]
    assert sum(row["what"].endswith("with the energy kept") for row in rows) == 3
    assert [row["meets"] for row in rows if row["what"].endswith("product")] == [True]


@pytest.mark.slow
def test_the_wire_has_the_bytes_of_the_formula_for_every_strategy(tmp_path):
    sizes = ["--size", "192", "--modules", "2", "--json", str(tmp_path)]
    call("-m", "benchmarks.wire", *sizes)
    rows = json.loads((tmp_path / "wire.json").read_text())["rows"]
    ratios = {row["what"]: row["ratio"] for row in rows if row["target"]}
    assert ratios.pop("local, float32") is None
    # Zeros that clients of fedgalore hold are not sent again.
    assert ratios.pop("fedgalore, float32") < 1
    assert len(ratios) == len(METHODS) - 2 - 1 + 4  # two more of ilora, two more types
    # Of such small layers the scales of int8 are a larger part.
    assert all(1 <= ratio < 1.07 for ratio in ratios.values()), ratios


@pytest.mark.slow
def test_switches_run_resume_and_print_a_table(tmp_path, tiny_model, small_data):
    changes = {
        "model": tiny_model,
        "dataset": small_data,
        "test-split": "test",
        "num-server-rounds": 1,
        "local-steps": 1,
        "min-partition-size": 1,
    }
    words = ["-m", "benchmarks.switches", "--out", str(tmp_path)]
    words += ["--seeds", "0,1", "--workers", "1"]
    words += ["--only", "mended", "--only", "decomposition svd"]
    for key, value in changes.items():
        words += ["--set", f"{key}={json.dumps(value)}"]
    first = call(*words)
    assert "| mended | " in first
    assert "| decomposition svd | " in first
    results = (tmp_path / "results.jsonl").read_text()
    assert len(results.splitlines()) == 4
    assert call(*words).splitlines()[-1] == first.splitlines()[-1]
    assert (tmp_path / "results.jsonl").read_text() == results


def test_the_summary_puts_comparisons_side_by_side(tmp_path):
    heads = "preset,method,kind,learning_rate,learning_rate_at_edge"
    heads += ",final_accuracy_mean,final_accuracy_std\n"
    files = []
    for preset, ours, theirs in (("one", 0.7, 0.8), ("two", 0.9, 0.6)):
        files.append(str(tmp_path / f"{preset}.csv"))
        Path(files[-1]).write_text(
            heads
            + f"{preset},ilora+control-scope=head,method,0.003,False,{ours},0.01\n"
            + f"{preset},fedit+drift-correction=none,method,0.01,True,{theirs},0.02\n"
            + f"{preset},centralized+drift-correction=none,bound,0.001,False,0.95,0\n"
        )
    assert call(str(BENCHMARKS / "summary.py"), *files).splitlines()[2:] == [
        "| ilora + control variates on the head alone "
        "| 0.700 ± 0.010 (0.003) | 0.900 ± 0.010 (0.003) |",
        "| fedit | 0.800 ± 0.020 (0.01†) | 0.600 ± 0.020 (0.01†) |",
        "| centralized | 0.950 ± 0.000 (0.001) | 0.950 ± 0.000 (0.001) |",
    ]


def test_the_summary_reads_what_compare_writes(tmp_path):
    made = plan(tmp_path, *map(entry, ("ilora", "linear-probe")), seeds=2)
    for one, accuracy in zip(made.entries, (0.9, 0.4), strict=True):
        for seed in made.seeds:
            known = {"majority_class": 0.1, "tfidf": 0.95}
            finish(made.job(one, 0.003, seed), rounds(0.1, accuracy), **known)
    file = tmp_path / "table.csv"
    file.write_text(tables.raw([section_of(made)]))
    assert call(str(BENCHMARKS / "summary.py"), str(file)).splitlines()[2:] == [
        "| ilora + control variates | 0.900 ± 0.000 (0.003) |",
        "| linear-probe | 0.400 ± 0.000 (0.003) |",
        "| TF-IDF and a linear model, texts pooled | 0.950 |",
        "| guessing the commonest class | 0.100 |",
    ]


@pytest.mark.slow
def test_a_superlink_is_measured_with_nodes_that_answer(tmp_path):
    words = ["--nodes", "2", "--cases", "few,packet", "--idle", "2"]
    words += ["--port", str(free_port()), "--json", str(tmp_path)]
    call("-m", "benchmarks.server", *words)
    found = json.loads((tmp_path / "server.json").read_text())["rows"]
    rows = {row["what"]: row for row in found}
    assert rows["2 nodes: the run"]["value"] == "finished:completed"
    rounds = [row for what, row in rows.items() if what.endswith(": a round")]
    assert len(rounds) == 2
    assert all(row["value"].endswith(", 2 replies") for row in rounds)
    assert "0 failures" in rows["2 nodes: the run"]["against"]


@pytest.mark.slow
def test_what_a_node_does_around_its_training_has_a_row_for_each_part(tmp_path):
    sizes = ["--models", "tiny", "--rounds", "1", "--batch", "2"]
    call("-m", "benchmarks.client", *sizes, "--json", str(tmp_path))
    found = json.loads((tmp_path / "client.json").read_text())["rows"]
    ratios = {row["what"]: row["ratio"] for row in found if row["ratio"]}
    whole = ratios.pop("tiny: around training")
    assert {name.removeprefix("tiny: ") for name in ratios} == {
        "Flower's objects", "settings and rank", "state on disk", "decode", "install",
        "collect", "encode", "the rest",
    }  # fmt: skip
    # Of one round, so that no median lies between.
    assert sum(ratios.values()) == pytest.approx(whole)
    (row,) = [row for row in found if row["target"]]
    assert row["meets"] == (whole <= 0.02)


@pytest.mark.long
def test_a_simulation_stands_beside_a_bare_loop(tmp_path):
    sizes = ["--clients", "2", "--rounds", "1", "--reloading-clients", "2"]
    call("-m", "benchmarks.simulation", *sizes, "--json", str(tmp_path))
    rows = json.loads((tmp_path / "simulation.json").read_text())["rows"]
    assert [bool(row["target"]) for row in rows] == [True, True, False, True]
    assert all(row["ratio"] > 0 for row in rows if row["target"])


def test_the_live_panel_is_drawn_as_it_stood(tmp_path):
    rounds = [{"round": n, "accuracy": 0.5 + n / 10, "seconds": 9.0} for n in range(4)]
    began = {"event": "started", "time": 1.0, "rounds": 3}
    events = [began, *({"event": "round", "time": 2.0} | row for row in rounds)]
    text = "\n".join(map(json.dumps, events))
    (tmp_path / "events.jsonl").write_text(text, encoding="utf-8")
    live_panel.draw(tmp_path, 2, tmp_path / "panel.svg")
    drawn = (tmp_path / "panel.svg").read_text(encoding="utf-8").replace("&#160;", " ")
    assert "0.7000" in drawn
    assert "0.8000" not in drawn
    assert "url(" not in drawn.replace("url(#", "")
