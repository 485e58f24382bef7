"""What a comparison says of run folders whose numbers are known."""

import csv
import io
import re

import pytest

from ilora_app.compare import page, plots, rates
from ilora_app.compare.presets import Preset
from ilora_app.compare.sections import Section
from ilora_app.compare.tables import cells, failures, heads, markdown, notes, raw
from tests.made_up import entry, fail, finish, plan, rounds, section_of

RATES = (0.001, 0.003, 0.01)


def named(section, summary) -> dict[str, str]:
    return dict(zip(heads(section), cells(section, summary), strict=True))


@pytest.mark.parametrize("column", ["held_out_accuracy", "client_accuracy_mean"])
def test_the_rate_is_chosen_on_held_out_data_and_not_on_the_test_split(
    tmp_path, column
):
    made = plan(tmp_path, entry(), rates=RATES, seeds=1)
    values = {0.001: (0.9, 0.2), 0.003: (0.5, 0.6), 0.01: (0.7, 0.3)}
    for rate, (test, held_out) in values.items():
        job = made.job(made.entries[0], rate, 0)
        finish(job, rounds(0.1, test, **{column: held_out}))
    choice = rates.choose(made, made.entries[0])
    assert (choice.rate, choice.edge) == (0.003, False)


def test_held_out_accuracy_goes_before_the_mean_over_clients(tmp_path):
    made = plan(tmp_path, entry(), rates=RATES, seeds=1)
    for rate in RATES:
        more = {"held_out_accuracy": 1 - rate, "client_accuracy_mean": rate}
        finish(made.job(made.entries[0], rate, 0), rounds(0.1, 0.2, **more))
    choice = rates.choose(made, made.entries[0])
    assert (choice.rate, choice.edge) == (0.001, True)


def test_rates_are_held_against_each_other_over_the_selecting_seeds(tmp_path):
    made = plan(tmp_path, entry(), rates=RATES, seeds=3, select=2)
    scores = {0.001: (0.9, 0.1), 0.003: (0.6, 0.6), 0.01: (0.5, 0.5)}
    for rate, values in scores.items():
        for seed, value in enumerate(values):
            job = made.job(made.entries[0], rate, seed)
            finish(job, rounds(0.1, 0.2, held_out_accuracy=value))
    late = made.job(made.entries[0], 0.01, 2)
    finish(late, rounds(0.1, 0.2, held_out_accuracy=1.0))
    assert rates.choose(made, made.entries[0]).rate == 0.003


def test_a_rate_that_failed_is_not_chosen_and_none_is_where_all_did(tmp_path):
    made = plan(tmp_path, entry(), rates=RATES, seeds=1)
    for rate in RATES:
        fail(made.job(made.entries[0], rate, 0), "no")
    assert rates.choose(made, made.entries[0]).rate is None
    job = made.job(made.entries[0], 0.01, 0)
    finish(job, rounds(0.1, 0.2, held_out_accuracy=0.1))
    assert rates.choose(made, made.entries[0]).rate == 0.01


def test_a_preset_can_use_the_rates_of_another(tmp_path):
    other = Preset("other", (("local-steps", 2),), None, "other")
    made = plan(
        tmp_path, entry(), entry(preset=other), rates=RATES, rates_from="default"
    )
    for rate in RATES:
        job = made.job(made.entries[0], rate, 0)
        finish(job, rounds(0.1, 0.2, held_out_accuracy=rate))
    assert rates.choose(made, made.entries[1]).rate == 0.01


def test_rows_are_sorted_and_bounds_are_apart(section):
    assert [s.name for s in section.methods] == ["ilora+control-scope=head", "ilora"]
    assert [s.name for s in section.bounds] == ["centralized"]
    assert [s.name for s in section.empty] == ["ilora+local-steps=1"]
    assert section.target == pytest.approx(0.95 * 0.8), "bounds set no target"


def test_personal_models_and_what_needs_no_federation_are_apart(tmp_path):
    made = plan(tmp_path, *map(entry, ("fedsa-lora", "ilora", "linear-probe")), seeds=2)
    for one, accuracy in zip(made.entries, (0.9, 0.5, 0.4), strict=True):
        for seed in (0, 1):
            known = {"majority_class": 0.1, "tfidf": 0.3 + 0.2 * seed}
            finish(made.job(one, 0.003, seed), rounds(0.1, accuracy), **known)
    section = section_of(made)
    assert section.target == pytest.approx(0.95 * 0.5), "personal models set no target"
    rows = [r for r in markdown([section], []).splitlines() if r.startswith("| ")][2:]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == [
        "ilora", "*personal models*", "fedsa-lora", "*bounds*", "linear-probe",
        "*no federation*", "guessing the commonest class",
        "TF-IDF and a linear model, texts pooled",
    ]  # fmt: skip
    assert [row.split(" | ")[2] for row in rows[-2:]] == ["0.100", "0.400"]
    text = page.html([section], [], [])
    assert "TF-IDF" in text
    assert '<tbody class="personal-models">' in text
    found = list(csv.DictReader(io.StringIO(raw([section]))))
    kinds = ["method", "personal", "bound", "baseline", "baseline"]
    assert [row["kind"] for row in found] == kinds
    assert float(found[-1]["final_accuracy_mean"]) == pytest.approx(0.4)


def test_the_cells_of_a_row(section):
    best, low = section.methods
    row = named(section, low)
    assert row["method"] == "ilora"
    assert row["lr"] == "0.003"
    assert row["final"] == "0.500 ± 0.141", "sample standard deviation"
    assert row["best"] == "0.500 ± 0.141"
    assert row["worst client"] == "0.250 (1 of 2)"
    assert (row["rank 2"], row["rank 16"]) == ("0.500 (1 of 2)", "0.600 (1 of 2)")
    assert row["rounds to 0.760"] == "0 of 2"
    assert (row["MB up"], row["MB down"]) == ("1.00", "2.00")
    assert (row["s server"], row["s client"]) == ("0.50", "2.00")
    row = named(section, best)
    assert row["best"] == "0.850 ± 0.071"
    assert row["rounds to 0.760"] == "1.5", "rounds 1 and 2"
    assert row["MB to 0.760"] == "9.0", "6 and 12 megabytes"
    assert row["rank 2"] == "–"


def test_a_target_of_ones_own_and_seeds_that_miss_it(section):
    named_target = Section.of("default", section.summaries, "0.55")
    row = named(named_target, named_target.methods[1])
    assert row["rounds to 0.550"] == "2.0 (1 of 2)"
    assert row["MB to 0.550"] == "6.0 (1 of 2)"


def test_markdown_has_groups_failures_and_what_it_was_made_with(section):
    text = markdown([section], ["Command: `x`"])
    order = (
        "| method |",
        "| ilora+control",
        "| ilora |",
        "| *bounds*",
        "| centralized",
    )
    places = [text.index(part) for part in (*order, "Failed:", "Command: `x`")]
    assert places == sorted(places)
    reason = "the run config has 1 mistake: - a|b"
    assert f"- ilora+local-steps=1, lr 0.003, seeds 0, 1: {reason}" in text
    whole, behind = text.split("Final accuracy less that of", 1)
    assert "| ilora = | -0.300 ± " in behind
    lines = [line for line in whole.splitlines() if line.startswith("|")]
    assert len({line.count(" | ") for line in lines if "---" not in line}) == 1


def test_csv_has_raw_numbers(section):
    rows = list(csv.DictReader(io.StringIO(raw([section]))))
    assert [row["status"] for row in rows] == ["finished"] * 3 + ["failed"]
    assert [row["kind"] for row in rows] == ["method", "method", "bound", "none"]
    low = rows[1]
    assert float(low["final_accuracy_mean"]) == pytest.approx(0.5)
    assert float(low["final_accuracy_std"]) == pytest.approx(0.02**0.5)
    assert (low["final_accuracy_n"], low["worst_client_n"]) == ("2", "1")
    assert low["worst_client_std"] == "", "one value has no deviation"
    assert (rows[3]["failed"], rows[3]["final_accuracy_n"]) == ("2", "0")
    assert "1 mistake" in rows[3]["reason"]


def test_an_edge_and_missing_runs_are_said(tmp_path):
    made = plan(tmp_path, entry(), rates=(0.001, 0.01))
    for rate in made.rates:
        job = made.job(made.entries[0], rate, 0)
        finish(job, rounds(0.1, 0.2, held_out_accuracy=rate))
    section = section_of(made)
    row = named(section, section.methods[0])
    assert (row["lr"], row["method"]) == ("0.01†", "ilora (1 of 2)")
    assert row["final"] == "0.200"
    assert len(notes(section)) == 2


def test_the_page_stands_alone(section):
    drawn = [(picture.title, picture.svg()) for picture in plots.pictures([section])]
    drawn.append(("grid", page.image(b"a picture", "grid")))
    text = page.html([section], ["Command: `ilora <x>`"], drawn)
    assert text.count("<svg") == 3
    assert text.count("data:image/png;base64,") == 1
    assert not re.search(r"(src|href)=\"(?!data:|#)", text)
    assert "http" not in text.replace("http-equiv", "")
    assert "<code>ilora &lt;x&gt;</code>" in text
    assert 'class="bad">failed</span> ilora+local-steps=1' in text
    assert text.index('<tbody class="methods">') < text.index('<tbody class="bounds">')
    assert 'name="viewport"' in text
    assert "color-scheme: light dark" in text


def test_a_section_without_a_finished_run_can_be_shown(tmp_path):
    made = plan(tmp_path, entry())
    fail(made.job(made.entries[0], 0.003, 0), "no")
    section = section_of(made)
    assert section.target is None
    assert failures(section) == [("ilora, lr 0.003, seed 0", "no")]
    assert "| method" not in markdown([section], [])
    for picture in plots.pictures([section]):
        assert "no finished run" in picture.svg()
    assert "<table>" not in page.html([section], [], [])
