"""Which run goes on, and what is refused with what differs."""

import pytest

from ilora_app import checks, config
from ilora_app.strategies.federation import FederationError
from tests.interruptions import interrupted, resumed
from tests.local_run import files, run


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"strategy": "fedit"}, "strategy is 'fedit', and was 'ilora'"),
        ({"client-ranks": "2,4"}, "client-ranks is '2,4', and was '2,4,8'"),
        ({"seed": 5}, "seed is 5, and was 0"),
        ({"learning-rate": 0.5}, "learning-rate is 0.5, and was 0.003"),
        ({"label-column": "intent"}, "label-column is 'intent', and was 'domain'"),
        ({"num-server-rounds": 1}, "num-server-rounds = 1: expected 2 or more"),
    ],
)
def test_what_differs_is_refused(run_config, change, difference):
    folder, _, _ = run(run_config)
    before = files(folder)
    with pytest.raises(config.ConfigError, match="mistake") as caught:
        resumed(run_config | change)
    assert difference in str(caught.value)
    assert files(folder) == before


def test_latest_is_the_newest_run_of_this_configuration(
    run_config, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    del run_config["output-dir"]
    with pytest.raises(config.ConfigError, match=r"\.ilora/runs has none"):
        checks.prepare(run_config | {"resume": "latest"})
    first, _, _ = run(run_config)
    run_config["seed"] = 1
    (first.parent / "notes.txt").write_text("no run")
    with pytest.raises(config.ConfigError, match="seed is 1, and was 0"):
        checks.prepare(run_config | {"resume": "latest"})
    second = first.parent / "second"
    run(run_config | {"output-dir": str(second)})
    for seed, folder in ((1, second), (0, first)):
        wanted = run_config | {"resume": "latest", "seed": seed}
        assert checks.prepare(wanted).resumed.folder == folder
    assert checks.prepare(run_config | {"resume": str(second)}).resumed.folder == second


def test_a_folder_that_cannot_be_resumed(run_config, tmp_path):
    for resume, right in (
        ("somewhere", "latest, or a run folder: absolute, or under ~"),
        (str(tmp_path / "none"), "a run with a checkpoint"),
    ):
        wanted = run_config | {"resume": resume, "output-dir": ""}
        with pytest.raises(config.ConfigError, match=right):
            checks.prepare(wanted)
    with pytest.raises(config.ConfigError, match="a run goes on where it is"):
        checks.prepare(run_config | {"resume": str(tmp_path / "none")})


def test_another_number_of_partitions_is_refused(run_config):
    interrupted(run_config)
    with pytest.raises(FederationError, match=r"in 3 parts, .* one of 4"):
        resumed(run_config, nodes=4)
