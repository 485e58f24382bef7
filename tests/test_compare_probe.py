"""The linear probe, and presets named after the paper, in a comparison."""

from pathlib import Path

from ilora_app.compare import entries as rows_under
from ilora_app.compare.presets import Preset, load_presets
from ilora_app.compare.rows import parse_rows
from tests.made_up import DEFAULT, plan

ROOT = Path(__file__).parent.parent


def test_every_preset_has_its_linear_probe(tmp_path):
    """One round, one rate, whatever others need; none where there are no classes."""
    texts = Preset("texts", (("cut", "update"), ("head", "ridge")), None, "texts")
    answers = Preset("answers", (("task", "causal-lm"),), None, "answers")
    rows, _ = parse_rows("ilora")
    made, wrong, _ = rows_under.make_entries([texts, answers], rows, {}, probe=True)
    assert wrong == []
    found = [(e.preset.name, e.row.name) for e in made]
    assert found == [
        ("texts", "ilora"),
        ("texts", "linear-probe"),
        ("answers", "ilora"),
    ]
    assert made[1].config["num-server-rounds"] == 1
    whole = plan(tmp_path, *made, rates=(0.001, 0.003, 0.01), seeds=3)
    assert [whole.size(e) for e in made] == [3 + 2, 3, 3 + 2]
    assert whole.grid(made[1]) == (0.001,)
    asked, _ = parse_rows("linear-probe,ilora")
    made, _, _ = rows_under.make_entries([texts], asked, {}, probe=True)
    assert [e.row.name for e in made if e.row.name == "linear-probe"] == [
        "linear-probe"
    ]


def test_a_preset_named_after_the_paper_holds_others_on_its_data():
    """What it says of ilora is dropped for them; the linear probe is there as well."""
    (paper,), _ = load_presets("roberta-sst2", ROOT / "configs")
    rows, _ = parse_rows("ilora,fedit,hetlora,local")
    made, wrong, left_out = rows_under.make_entries([paper], rows, {}, probe=True)
    assert (wrong, left_out) == ([], [])
    by = {entry.row.name: entry.config for entry in made}
    assert list(by) == ["ilora", "fedit", "hetlora", "local", "linear-probe"]
    assert (by["ilora"]["cut"], by["ilora"]["aggregate"]) == ("product", "products")
    assert "cut" not in by["fedit"]
    assert "control-estimator" not in by["fedit"]
    assert {by[n]["head"] for n in ("ilora", "fedit", "hetlora")} == {"trained"}
    asked, _ = parse_rows("fedit+cut=product")
    _, wrong, _ = rows_under.make_entries([paper], asked, {})
    assert "cut = 'product': is not used" in wrong[0], "a row's own keys are its own"


def test_rows_that_share_a_section_share_a_linear_probe():
    names = "ablation-1-fedit,ablation-2-qr-start,ablation-4-control-variates"
    presets, _ = load_presets(names, ROOT / "configs")
    made, wrong, _ = rows_under.make_entries(presets, [], {}, probe=True)
    assert wrong == []
    probes = [entry for entry in made if entry.row.name == "linear-probe"]
    assert len(probes) == 1
    start, _ = parse_rows("ilora+initialisation=qr")
    made, _, _ = rows_under.make_entries([DEFAULT], start, {}, probe=True)
    assert made[-1].row.name == "linear-probe"
