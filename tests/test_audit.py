"""``ilora audit``: the attack against its own statistics, and against real models."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_curve

from ilora_app.audit.attack import attack, true_positives
from ilora_app.tasks import sources
from ilora_app.tasks.losses import row_terms
from tests.finished import RUNS, finish, ilora
from tests.local_run import metrics, run
from tests.page import Page


def drawn(seed: int, shift: float, m: int = 150, n: int = 250):
    draw = np.random.default_rng(seed)
    return draw.normal(-shift, 1, m), draw.normal(0, 1, n)


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_intervals_hold_what_they_should(shift):
    """Losses are normal, so the true AUC is Phi(shift / sqrt 2)."""
    true = stats.norm.cdf(shift / np.sqrt(2))
    inside = 0
    for seed in range(300):
        low, high = attack(*drawn(seed, shift), draws=2)["auc_interval"]
        inside += low <= true <= high
    assert 0.92 < inside / 300 < 0.98


def test_true_positives_are_read_from_the_curve():
    for seed in range(20):
        members, others = drawn(seed, 1.0, 80, 230)
        truth = np.r_[np.ones(80), np.zeros(230)]
        fpr, tpr, _ = roc_curve(truth, -np.r_[members, others], drop_intermediate=False)
        assert true_positives(members, others) == tpr[fpr <= 0.01].max()
    found = attack(*drawn(0, 3.0))
    low, high = found["tpr_interval"]
    assert low < found["tpr"] < high
    # Phi(3 - 2.33): the threshold of 1 % of a normal.
    assert low < stats.norm.cdf(3 + stats.norm.ppf(0.01)) < high


def test_ties_are_half():
    found = attack(np.zeros(50), np.zeros(70))
    assert found["auc"] == 0.5
    assert found["auc_interval"] == [0.5, 0.5]
    assert found["tpr"] == 0.0


@pytest.mark.parametrize(
    ("members", "others", "said"),
    [
        (np.ones(9), np.ones(20), "9 members: expected 10 or more"),
        (np.ones(20), np.full(20, np.nan), "non-members is no finite number"),
    ],
)
def test_what_is_no_test(members, others, said):
    with pytest.raises(ValueError, match=said):
        attack(members, others)


def row_losses(task, logits, labels):
    terms, counted = row_terms(task)(logits, labels)
    return terms.sum(dim=1) / counted.sum(dim=1)


def test_losses_are_those_of_training():
    """The mean over rows of the losses is the loss that torch takes of them all."""
    logits, labels = torch.randn(6, 5), torch.randint(0, 5, (6,))
    each = row_losses("text-classification", logits, labels)
    whole = torch.nn.functional.cross_entropy(logits, labels)
    assert float(each.mean()) == pytest.approx(float(whole))
    logits, labels = torch.randn(3, 7, 11), torch.randint(0, 11, (3, 7))
    labels[:, :2] = labels[1, 5:] = -100
    each = row_losses("causal-lm", logits, labels)
    for row in range(3):
        alone = torch.nn.functional.cross_entropy(
            logits[row, :-1], labels[row, 1:], ignore_index=-100
        )
        assert float(each[row]) == pytest.approx(float(alone), rel=1e-5)


@pytest.fixture(scope="module")
def overfitted(tiny_config, tmp_path_factory) -> tuple[Path, Path]:
    """A run over 60 rows, learned by heart, and a folder with rows of three kinds."""
    place = tmp_path_factory.mktemp("overfitted")
    lines = (sources.PACKAGED / "clinc150" / "train.jsonl").read_text().splitlines()
    data = place / "data"
    data.mkdir()
    for name, rows in (("train", lines[:60]), ("test", lines[60:360])):
        (data / f"{name}.jsonl").write_text("\n".join(rows) + "\n")
    (place / "unseen.jsonl").write_text("\n".join(lines[360:760]) + "\n")
    config = tiny_config | {
        "output-dir": str(place / "run"), "dataset": str(data), "client-ranks": "16",
        "target-modules": "query,value,key", "local-steps": 40, "num-server-rounds": 4,
        "learning-rate": 0.01, "partitioner": "iid", "drift-correction": "none",
        "holdout-fraction": 0.0, "fraction-evaluate": 0.0, "keep-checkpoints": 0,
    }  # fmt: skip
    return run(config, 2)[0], place


@pytest.mark.slow
def test_a_model_that_has_learned_by_heart_tells_its_rows(overfitted):
    folder, _ = overfitted
    result = ilora("audit", folder)
    assert result.exit_code == 0, result.output
    found = json.loads((folder / "membership.json").read_text())
    assert found["auc"] > 0.75
    assert found["auc_interval"][0] > 0.65
    assert (found["members"], found["non_members"]) == (60, 300)
    # The same rows and the same model as the run's own last evaluation.
    assert found["mean_loss"]["non_members"] == pytest.approx(
        metrics(folder)["loss"].iloc[-1], rel=1e-4
    )
    assert (folder / "membership.png").stat().st_size > 5000
    page = Page((folder / "privacy.html").read_text())
    assert f"{found['auc']:.3f} [" in page.row("AUC (0.5 is guessing)")[1]
    assert f"Membership test: AUC {found['auc']:.3f}" in page.text
    titles = {a["aria-label"] for tag, a in page.tags if tag == "svg"}
    assert titles == {"Membership test"}
    said = json.loads((folder / "privacy.json").read_text())["membership_test"]
    assert said["auc"] == found["auc"]


@pytest.mark.slow
def test_rows_that_it_has_never_seen_are_not_told(overfitted, tmp_path):
    folder, place = overfitted
    words = ("--members", f"{place}/data@test", "--non-members", place / "unseen.jsonl")
    result = ilora("audit", folder, *words, "--out", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["members"], found["non_members"]) == (300, 400)
    low, high = found["auc_interval"]
    assert low < 0.5 < high
    assert (tmp_path / "membership.json").is_file()


@pytest.mark.slow
def test_an_exported_adapter_is_tested_as_the_run(overfitted, tiny_model, tmp_path):
    folder, place = overfitted
    adapter = tmp_path / "adapter"
    assert ilora("export", folder, "--out", adapter).exit_code == 0
    data = place / "data"
    words = ("--members", f"{data}@train", "--non-members", f"{data}@test", "--json")
    result = ilora("audit", adapter, *words)
    assert result.exit_code == 2  # the first column that looks like a class is another
    base = ("--base", tiny_model)
    result = ilora("audit", adapter, *words, "--column", "domain", *base)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    same = json.loads(ilora("audit", folder, *words).stdout)
    assert found["auc"] == pytest.approx(same["auc"], abs=1e-6)
    result = ilora("audit", adapter)
    assert f"{adapter} is no run: expected --members" in result.output


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit", "gpt2"])
def test_other_tasks(name, tmp_path):
    assert name in RUNS
    made = finish(name, tmp_path)
    result = ilora("audit", made.folder, "--json", "--most", 12)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["members"], found["non_members"]) == (12, 12)
    if name == "vit":
        result = ilora("audit", made.folder, "--most", 12)
        assert "1 % of fewer than 100 non-members is no row" in result.output
        result = ilora("audit", made.folder, "--json")
        loss = json.loads(result.stdout)["mean_loss"]["non_members"]
        assert loss == pytest.approx(metrics(made.folder)["loss"].iloc[-1], rel=1e-3)


@pytest.mark.slow
def test_mistakes(overfitted, tmp_path):
    folder, place = overfitted
    for out in (tmp_path / "taken", tmp_path / "taken" / "below"):
        (tmp_path / "taken").touch()
        words = ("--members", place / "unseen.jsonl", "--out", out)
        result = ilora("audit", folder, *words)
        assert result.exit_code == 2
        assert "expected --members and --non-members, or neither" in result.output
        assert f"--out {out}: expected a folder; {tmp_path / 'taken'} is a file" in (
            result.output
        )
    words = ("--members", place / "none", "--non-members", place / "none")
    assert ilora("audit", folder, *words).exit_code == 2
    (tmp_path / "full" / "membership.json").mkdir(parents=True)
    result = ilora("audit", folder, "--out", tmp_path / "full", "--json")
    assert result.exit_code == 2, "it could not be written"
    assert json.loads(result.stdout)["members"] == 60, "and was said before"
    events = (folder / "events.jsonl").read_text()
    own = events.replace('"partition": 1', '"partition": null')
    (folder / "events.jsonl").write_text(own)
    result = ilora("audit", folder)
    (folder / "events.jsonl").write_text(events)
    assert "its nodes had data of their own" in result.output
