"""What the plots of a comparison show."""

import io
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from ilora_app.compare import differences, plots
from ilora_app.compare.report import title
from ilora_app.compare.styles import styles as styles_of
from ilora_app.methods import METHODS
from ilora_app.report.line_ends import spread
from tests.made_up import entry, finish, plan, rounds, section_of


def test_curves_are_means_over_seeds_and_cost_is_cumulated(section):
    best, low = section.methods
    assert [p.mean for p in plots.by_round(low)] == pytest.approx([0.1, 0.4, 0.5])
    assert [p.std for p in plots.by_round(low)][2] == pytest.approx(0.02**0.5)
    assert [p.x for p in plots.by_megabytes(low)] == pytest.approx([0, 3, 6])
    assert [p.mean for p in plots.by_round(best)] == pytest.approx([0.1, 0.9, 0.8])


def test_a_seed_that_ended_early_stays_in_the_mean_with_what_it_ended_with(tmp_path):
    made = plan(tmp_path, entry(), seeds=2)
    for seed, accuracies in enumerate(((0.1, 0.8, 0.9), (0.1, 0.2, 0.4, 0.5, 0.6))):
        finish(made.job(made.entries[0], 0.003, seed), rounds(*accuracies))
    (row,) = section_of(made).methods
    by_round, sent = plots.by_round(row), plots.by_megabytes(row)
    expected = [0.1, 0.5, 0.65, 0.7, 0.75]
    assert [p.mean for p in by_round] == pytest.approx(expected)
    assert [p.mean for p in sent] == pytest.approx(expected)
    assert by_round[-1].mean == row.final.mean, "a line ends where the table does"
    assert by_round[-1].std == row.final.std
    assert [p.x for p in sent] == pytest.approx([0, 3, 6, 7.5, 9])


def test_the_solved_head_is_part_of_the_cost_and_measuring_is_not(tmp_path):
    made = plan(tmp_path, entry(), entry("linear-probe"), seeds=1)
    rows = rounds(0.1, 0.4, 0.5, bytes_down_head=5e5, bytes_up_secure=25e4)
    rows[0] |= {"bytes_down_head": 1e6, "bytes_up_head": 2e6}
    rows[1] |= {"bytes_down_evaluate": 7e6}
    finish(made.job(made.entries[0], 0.003, 0), rows)
    probe = {"bytes_up": "", "bytes_down": "", "bytes_up_head": 4e6}
    finish(made.job(made.entries[1], 0.003, 0), rounds(0.1, 0.3, **probe))
    section = section_of(made, "0.5")
    (row,) = section.methods
    assert [p.x for p in plots.by_megabytes(row)] == pytest.approx([3, 6, 9.75])
    assert section.megabytes_to(row.runs[0]) == pytest.approx(9.75)
    cost = plots.pictures([section])[2].svg()
    assert "ilora, round 2" in cost
    assert "linear-probe, round 1" not in cost, "one round is a level line here too"


def test_rows_of_a_strategy_share_a_colour_and_the_plain_one_is_solid(section):
    found = styles_of([*section.methods, *section.bounds])
    plain, other = found["ilora"], found["ilora+control-scope=head"]
    assert plain.colour == other.colour
    assert (plain.dash, other.dash) == ("-", "--")
    assert found["centralized"].colour != plain.colour
    alone = styles_of([section.methods[0]])
    assert alone["ilora+control-scope=head"].dash == "--"


def pictured(section, name, kind="png"):
    (picture,) = [p for p in plots.pictures([section]) if p.name == name]
    return picture.file(kind)


def made_up_methods(monkeypatch, number):
    """Names of methods that are on record and do what fedit does."""
    names = [f"method-{i}" for i in range(number)]
    for name in names:
        monkeypatch.setitem(METHODS, name, METHODS["fedit"])
    return names


def test_many_rows_have_distinct_styles(tmp_path, monkeypatch):
    names = made_up_methods(monkeypatch, 12)
    names += [f"{name}+drift-correction=x" for name in names]
    made = plan(tmp_path, *map(entry, names), seeds=1)
    for one in made.entries:
        finish(made.job(one, 0.003, 0), rounds(0.1, 0.2))
    section = section_of(made)
    found = styles_of(section.methods).values()
    assert len({(look.dash, look.marker) for look in found}) == 24, "told apart in grey"
    assert pictured(section, "curves").startswith(b"\x89PNG")


def test_the_best_of_many_rows_and_the_bounds_alone_are_in_colour(
    tmp_path, monkeypatch
):
    names = made_up_methods(monkeypatch, 20)
    made = plan(tmp_path, *map(entry, [*names, "centralized"]), seeds=1)
    for i, one in enumerate(made.entries):
        finish(made.job(one, 0.003, 0), rounds(0.1, i / 100))
    section = section_of(made)
    names = [summary.name for summary in plots.drawn(section)]
    best = [f"method-{i}" for i in range(19, 19 - plots.BEST, -1)]
    assert names == [*best, "centralized"]
    assert pictured(section, "curves").startswith(b"\x89PNG")


@given(st.lists(st.floats(0, 1), max_size=40).map(sorted))
def test_names_at_the_ends_of_lines_have_room_and_keep_their_order(wanted):
    found = spread(wanted)
    assert len(found) == len(wanted)
    room = min(1 / max(len(wanted), 1), 0.045)
    for low, high in pairwise(found):
        assert high - low >= room - 1e-9
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in found)


def test_names_stay_beside_their_lines_where_there_is_room():
    assert spread([0.2, 0.5, 0.8]) == [0.2, 0.5, 0.8]
    assert spread([]) == []


@pytest.mark.parametrize("name", ["final", "curves", "cost"])
def test_figures_are_files_for_papers(section, name):
    shown = Image.open(io.BytesIO(pictured(section, name)))
    assert shown.info["dpi"] == pytest.approx((200, 200), abs=0.1)
    assert shown.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    assert pictured(section, name, "pdf").startswith(b"%PDF")
    drawn = pictured(section, name, "svg")
    assert b"<svg" in drawn
    assert b"<text" not in drawn, "letters are drawn: a printer may lack the font"
    assert drawn == pictured(section, name, "svg"), "the same numbers, the same file"


def test_a_page_has_them_in_its_own_colours_with_names_and_values(section):
    final, curves, cost = plots.pictures([section])
    for picture in (final, curves, cost):
        text = picture.svg()
        assert "var(--c0)" in text
        assert "currentColor" in text
        assert "#ffffff" not in text
        for summary in section.shown:
            assert f">{summary.name}<" in text.replace("\n", ""), "named directly"
    assert "ilora, round 2: 0.5000 ± 0.1414" in curves.svg()
    assert "ilora: 0.5000 ± 0.1414, 2 seeds" in final.svg()
    assert "0.1000" not in curves.svg(), "round 0 would squeeze the others"
    assert section.title in curves.svg()


def test_a_row_of_one_round_is_level_beside_longer_ones(tmp_path):
    made = plan(tmp_path, entry("ilora"), entry("linear-probe"), seeds=1)
    finish(made.job(made.entries[0], 0.003, 0), rounds(0.1, 0.4, 0.5))
    finish(made.job(made.entries[1], 0.003, 0), rounds(0.1, 0.3))
    curves = plots.pictures([section_of(made)])[1].svg()
    assert "ilora, round 1" in curves
    assert "linear-probe, round 1" not in curves
    assert ">linear-probe<" in curves.replace("\n", "")


def test_round_0_stays_where_there_is_nothing_else():
    only = [plots.Point(0, 0.1, 0.0)]
    assert plots.trained(only, only) == only
    more = [*only, plots.Point(1, 0.5, 0.0)]
    assert plots.trained(more, more) == more[1:]


def test_the_title_says_what_is_compared(section):
    assert section.title == "default: all-MiniLM-L6-v2 on clinc150, 4 clients, 2 seeds"
    assert title([section]) == (
        "Comparison of ilora, ilora+control-scope=head, centralized, "
        "ilora+local-steps=1"
    )
    assert title([]) == "Comparison"


@pytest.mark.parametrize(
    ("low", "high"), [(3, 4.5), (2.3, 10), (7, 60), (1, 900), (0.01, 5000)]
)
def test_every_axis_of_megabytes_has_two_numbers_or_more(low, high):
    axes = Figure().add_subplot()
    axes.plot([low, high], [0, 1])
    plots._magnitudes(axes, high / low)
    left, right = axes.get_xlim()
    shown = [x for x in axes.get_xticks() if left <= x <= right]
    assert 2 <= len(shown) <= 12


def test_a_small_p_is_not_written_as_zero():
    assert [differences._p(p) for p in (0.0, 0.0005, 0.041)] == [
        "<0.001",
        "0.001",
        "0.041",
    ]
