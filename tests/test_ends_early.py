"""A run that ends early has at its end all that one of so many rounds has."""

import pandas
import pytest

from ilora_app.runs.checkpoint import Checkpoints
from tests.conftest import read_events
from tests.local_run import files, metrics, run

pytestmark = pytest.mark.slow


@pytest.fixture
def early(run_config):
    return run_config | {
        "target-accuracy": 1e-6,
        "num-server-rounds": 8,
        "rank-eval-every": 5,
    }


def assert_ends_alike(one, other, twice=False):
    """Whatever the order in which its columns came."""
    tables = [metrics(folder).sort_index(axis=1) for folder in (one, other)]
    if twice:
        for way in ("down", "up"):
            asked, once = (table.pop(f"bytes_{way}_evaluate")[1] for table in tables)
            assert once < asked <= 2 * once
    pandas.testing.assert_frame_equal(*tables, check_exact=True)
    assert files(one) == files(other)


def whole_of(config, tmp_path, **more):
    """The same run, which was asked for one round."""
    plain = config | {"num-server-rounds": 1, "output-dir": str(tmp_path / "whole")}
    return run(plain | more)[0]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"evaluate-on": "train"},
        {"head": "ridge", "head-refit-every": 4, "evaluate-on": "train"},
        {"head": "ridge", "head-refit-every": 0},
        {"head": "ridge", "head-refit-every": 4},
        {"strategy": "fedsa-lora", "drift-correction": "none"},
        {"secure-aggregation": True, "head": "ridge", "head-refit-every": 4},
    ],
    ids=lambda more: "-".join(map(str, more.values())) or "default",
)
def test_it_ends_as_one_of_so_many_rounds(early, tmp_path, more):
    if more.get("strategy") == "fedsa-lora":  # has no global model to reach a target
        early |= {"patience": 1, "best-metric": "client_accuracy_worst"}
    folder, _, server = run(early | more)
    if "strategy" not in more:
        assert [row["round"] for row in server.folder.rows] == [0, 1]
    # Nodes that mask answer once, and so of the head from before, and a head that is
    # solved later than the first measure costs a second one.
    twice = more == {"head": "ridge", "head-refit-every": 4}
    if not {"strategy", "secure-aggregation"} & more.keys():
        assert_ends_alike(folder, whole_of(early | more, tmp_path), twice)
    table, last = metrics(folder), metrics(folder).iloc[-1]
    assert last["asked_evaluate"] == 3
    assert last["clients_evaluated"] == 3
    if "strategy" not in more:
        assert last["accuracy_r2"] >= 0
    if more.get("head-refit-every"):
        assert table["head_examples"].notna().all()


def test_what_is_kept_of_the_last_round_is_what_it_ended_with(early, tmp_path):
    early |= {"evaluate-on": "train", "keep-checkpoints": 2}
    folder, _, server = run(early)
    found = Checkpoints(folder).load()
    assert found.round == 1
    assert found.rows == server.folder.rows
    [late] = read_events(folder, "measured")
    assert late["round"] == 1
    again, _, other = run(early | {"resume": str(folder)})
    assert [row["round"] for row in other.folder.rows] == [0, 1]
    assert_ends_alike(again, folder)


def test_a_run_to_its_last_round_measures_it_once(run_config):
    folder, _, _ = run(run_config | {"target-accuracy": 1.0})
    assert not read_events(folder, "measured")
