"""What the plots of a comparison show."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilora_app.compare import plots
from ilora_app.methods import METHODS
from ilora_app.report.line_ends import spread
from tests.made_up import entry, finish, plan, rounds, section_of


def test_curves_are_means_over_seeds_and_cost_is_cumulated(section):
    best, low = section.methods
    assert [p.mean for p in plots.by_round(low)] == pytest.approx([0.1, 0.4, 0.5])
    assert [p.std for p in plots.by_round(low)][2] == pytest.approx(0.02**0.5)
    assert [p.x for p in plots.by_megabytes(low)] == pytest.approx([0, 3, 6])
    assert [p.mean for p in plots.by_round(best)] == pytest.approx([0.1, 0.9, 0.8])


def test_rows_of_a_strategy_share_a_colour_and_the_plain_one_is_solid(section):
    styles = plots.styles([*section.methods, *section.bounds])
    plain, other = styles["ilora"], styles["ilora+control-scope=head"]
    assert plain.colour == other.colour
    assert (plain.dash, other.dash) == ("-", "--")
    assert styles["centralized"].colour != plain.colour
    alone = plots.styles([section.methods[0]])
    assert alone["ilora+control-scope=head"].dash == "--"


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
    assert len(set(plots.styles(section.methods).values())) == 24
    assert plots.curves([section]).startswith(b"\x89PNG")


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
    assert plots.curves([section]).startswith(b"\x89PNG")


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
