"""The real app in Flower's Ray engine, against a SuperLink that the test starts."""

import os
from pathlib import Path

import pandas
import pytest

from ilora_app.settings import Settings, parsing
from tests.local_run import metrics, run
from tests.superlink import superlink
from tests.test_payloads import agreeing

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def link(tmp_path_factory):
    with superlink(tmp_path_factory.mktemp("flower")) as link:
        yield link


def overrides(run_config: dict, folder) -> dict:
    """What differs from the defaults, as a user would write it."""
    defaults = parsing.dump(Settings())
    changed = {k: v for k, v in run_config.items() if v != defaults[k]}
    return changed | {"output-dir": str(folder)}


def test_the_app_runs_and_its_numbers_do_not_depend_on_the_engine(
    link, run_config, tmp_path
):
    """One Ray actor, two of them, and one process with no Ray: the same metrics."""
    tables = []
    for name, federation in (
        (
            "two-actors",
            "num-supernodes=3 client-resources-num-cpus=1 init-args-num-cpus=2",
        ),
        (
            "one-actor",
            "num-supernodes=3 client-resources-num-cpus=1 init-args-num-cpus=1",
        ),
    ):
        log = link.run(overrides(run_config, tmp_path / name), federation, timeout=300)
        assert (tmp_path / name / "metrics.csv").is_file(), log
        assert "round 2/2" in log
        assert (tmp_path / name / "adapter" / "adapter_model.safetensors").is_file()
        assert link.statuses()[0] == "finished:completed"
        tables.append(metrics(tmp_path / name))
        # What the engine writes anew on the way has the same hash on both sides.
        assert agreeing(tmp_path / name, Path(os.environ["ILORA_STATE"])) == [4, 4, 4]
    tables.append(metrics(run(run_config)[0]))
    for other in tables[1:]:
        pandas.testing.assert_frame_equal(tables[0], other, check_exact=True)


@pytest.mark.parametrize(
    "strategy",
    [
        "flora",
        *(pytest.param(n, marks=pytest.mark.long) for n in ("fedsa-lora", "lora-a2")),
    ],
)
def test_what_clients_keep_survives_the_engine(link, run_config, tmp_path, strategy):
    """The base, an own B, and kept factors: in ``context.state``, as without Ray."""
    run_config |= {"strategy": strategy, "num-server-rounds": 3}
    federation = "num-supernodes=3 client-resources-num-cpus=1 init-args-num-cpus=2"
    wanted = overrides(run_config, tmp_path / strategy)
    log = link.run(wanted, federation, timeout=300)
    assert link.statuses()[0] == "finished:completed", log
    assert "is left out" not in log
    pandas.testing.assert_frame_equal(
        metrics(tmp_path / strategy), metrics(run(run_config)[0]), check_exact=True
    )


def test_mistakes_end_the_run_with_one_message(link, run_config, tmp_path):
    wrong = overrides(run_config, tmp_path / "wrong") | {
        "client-ranks": "2,x",
        "label-column": "class",
    }
    log = link.run(wrong, "num-supernodes=2 client-resources-num-cpus=1", timeout=120)
    assert "the run config has 2 mistakes" in log
    assert "client-ranks = '2,x': expected positive whole numbers" in log
    assert "label-column = 'class'" in log
    assert "Traceback" not in log
    assert link.statuses()[0] == "finished:failed"
    assert not (tmp_path / "wrong" / "metrics.csv").exists()


@pytest.mark.long
def test_partitions_that_cannot_be_made_end_the_run(link, run_config, tmp_path):
    wrong = overrides(run_config, tmp_path / "many") | {"min-partition-size": 399}
    log = link.run(wrong, "num-supernodes=4 client-resources-num-cpus=1", timeout=120)
    assert "min-partition-size = 399: no Dirichlet draw" in log
    assert link.statuses()[0] == "finished:failed"
