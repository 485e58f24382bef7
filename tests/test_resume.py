"""A run that was interrupted ends as one that was not, to the last bit."""

from pathlib import Path

import pandas
import pytest

from ilora_app import checks, client_app, config, server_app
from ilora_app.strategies import STRATEGIES
from ilora_app.strategies.federation import FederationError
from tests.conftest import read_events
from tests.local_run import FaultyGrid, metrics, run


class PowerCutError(Exception):
    """Ends a run where it stands."""


class Failing(FaultyGrid):
    """A grid whose training messages of one round never come back.

    The nodes do their work first: what they keep is then one round ahead.
    """

    def __init__(self, *args, fails_in: int, **kwargs):
        self.fails_in = fails_in
        super().__init__(*args, **kwargs)

    def send_and_receive(self, messages, *, timeout=None):
        messages = list(messages)
        replies = super().send_and_receive(messages, timeout=timeout)
        for message in messages:
            asked = message.content.config_records.get("config", {})
            if message.metadata.message_type == "train" and (
                asked["server-round"] == self.fails_in
            ):
                raise PowerCutError
        return replies


def start(run_config, grid) -> server_app.Server:
    prepared = checks.prepare(run_config)
    server = server_app.Server(prepared, server_app.meet(grid, prepared), run_id=1)
    server.run(grid)
    return server


def interrupted(run_config, fails_in: int = 2, nodes: int = 3, **settings) -> Path:
    grid = Failing(client_app.app, run_config, nodes, fails_in=fails_in, **settings)
    with pytest.raises(PowerCutError):
        start(run_config, grid)
    return Path(run_config["output-dir"])


def fresh_grid(run_config, nodes: int = 3, **settings) -> FaultyGrid:
    """Nodes of other ids, with nothing in their ``context.state``."""
    grid = FaultyGrid(client_app.app, run_config, nodes, **settings)
    contexts = {1000 - node: context for node, context in grid._contexts.items()}
    for node, context in contexts.items():
        context.node_id = node
    grid._contexts = contexts
    return grid


def resumed(run_config, nodes: int = 3, **settings) -> server_app.Server:
    run_config = run_config | {"resume": "latest"}
    return start(run_config, fresh_grid(run_config, nodes, **settings))


def files(folder: Path) -> dict[str, bytes]:
    """What is exported, by name."""
    exported = [p for part in ("adapter*", "model") for p in folder.glob(f"{part}/*")]
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in exported
        if path.suffix == ".safetensors"
    }


def assert_same(whole: Path, other: Path) -> None:
    pandas.testing.assert_frame_equal(metrics(whole), metrics(other), check_exact=True)
    assert files(whole) == files(other)


def cases():
    for name, strategy in STRATEGIES.items():
        yield name, {}
        if strategy.corrected and name != "ilora":
            more = {"drift-correction": "control-variates"}
            if strategy.corrected != ("all", "head", "factors"):
                more["control-scope"] = strategy.corrected[0]
            yield f"{name}+control-variates", more
    yield "ilora+none", {"drift-correction": "none"}
    yield "ilora+merge", {"residual": "merge"}
    yield "ilora+rotate", {"control-basis": "rotate"}
    yield "fedit+qr", {"initialisation": "qr"}
    yield "hetlora+pruning", {
        "hetlora-gamma": 0.5, "hetlora-lambda": 1.0,
        "drift-correction": "control-variates",
    }  # fmt: skip


CASES = dict(cases())


@pytest.mark.parametrize("case", CASES)
def test_it_ends_as_if_nothing_had_happened(run_config, tmp_path, case):
    run_config |= {
        "strategy": case.partition("+")[0], "num-server-rounds": 3,
        "test-examples": 40, **CASES[case],
    }  # fmt: skip
    whole, _, _ = run(run_config)
    run_config["output-dir"] = str(tmp_path / "again")
    folder = interrupted(run_config)
    assert list(metrics(folder)["round"]) == [0, 1]
    server = resumed(run_config)
    assert server.folder.path == folder
    assert not read_events(folder, "reply-left-out")
    assert_same(whole, folder)


@pytest.fixture
def corrected(run_config):
    """Control variates and an own B are what a client cannot do without."""
    return run_config | {
        "strategy": "fedsa-lora", "drift-correction": "control-variates",
        "control-scope": "head", "num-server-rounds": 4, "test-examples": 40,
    }  # fmt: skip


def test_it_may_be_interrupted_again_and_again(corrected, tmp_path):
    whole, _, _ = run(corrected)
    corrected["output-dir"] = str(tmp_path / "again")
    folder = interrupted(corrected, fails_in=2)
    for fails_in in (3, 3, 4):
        interrupted(corrected | {"resume": "latest"}, fails_in=fails_in)
    resumed(corrected)
    assert_same(whole, folder)
    behind = [event["after_round"] for event in read_events(folder, "resumed")]
    assert behind == [1, 2, 2, 3]


def test_without_what_the_nodes_have_kept_it_ends_elsewhere(
    corrected, tmp_path, monkeypatch
):
    """So what they keep is needed, and a node that lost it takes part all the same."""
    whole, _, _ = run(corrected)
    corrected["output-dir"] = str(tmp_path / "again")
    folder = interrupted(corrected, fails_in=3)
    monkeypatch.setenv("ILORA_STATE", str(tmp_path / "another disk"))
    resumed(corrected)
    assert metrics(folder)["loss"].iloc[2] == metrics(whole)["loss"].iloc[2]
    assert metrics(folder)["loss"].iloc[3] != metrics(whole)["loss"].iloc[3]
    assert not read_events(folder, "reply-left-out")
    assert list(metrics(folder)["clients"].iloc[1:]) == [3, 3, 3, 3]


def test_a_node_that_lost_its_base_gets_it_whole(run_config, tmp_path, monkeypatch):
    run_config |= {"strategy": "flora", "num-server-rounds": 3}
    whole, _, _ = run(run_config)
    run_config["output-dir"] = str(tmp_path / "again")
    folder = interrupted(run_config)
    monkeypatch.setenv("ILORA_STATE", str(tmp_path / "another disk"))
    resumed(run_config)
    assert not read_events(folder, "reply-left-out")
    assert metrics(folder)["loss"].iloc[-1] == pytest.approx(
        metrics(whole)["loss"].iloc[-1], rel=1e-5
    )


def test_a_torn_checkpoint_is_passed_over(corrected, tmp_path, caplog):
    """The nodes still hold the state of the round before, and it is that they take."""
    whole, _, _ = run(corrected)
    corrected["output-dir"] = str(tmp_path / "again")
    folder = interrupted(corrected, fails_in=4)
    tensors = folder / "checkpoints" / "round-3" / "tensors.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-100])
    resumed(corrected)
    assert "its SHA-256 differs; going on from round 2" in caplog.text
    assert_same(whole, folder)


def test_a_member_that_stays_away_is_still_a_member(corrected, tmp_path):
    """c is a mean over all members, and a rank is measured whoever holds it."""
    folder = interrupted(corrected)
    server = resumed(corrected, arrivals={997: 10_000})
    assert server.federation.ranks == [2, 4, 8]
    assert list(metrics(folder)["clients"].iloc[2:]) == [2, 2, 2]


def test_a_node_that_restarts_within_a_run_takes_up_its_place(corrected, tmp_path):
    """Same data, another node id, an empty memory: the numbers do not change."""
    whole, _, _ = run(corrected)
    corrected["output-dir"] = str(tmp_path / "again")

    class Restarting(FaultyGrid):
        def send_and_receive(self, messages, *, timeout=None):
            messages = list(messages)
            replies = super().send_and_receive(messages, timeout=timeout)
            asked = messages[0].content.config_records.get("config", {})
            kind = messages[0].metadata.message_type
            if kind == "evaluate" and asked["server-round"] == 2:
                fresh = fresh_grid(corrected)._contexts[998]
                del self._contexts[2]
                self._contexts[998] = fresh
            return replies

    server = start(corrected, Restarting(client_app.app, corrected, 3))
    assert server.federation.ranks == [2, 4, 8]
    assert_same(whole, Path(corrected["output-dir"]))


def test_a_finished_run_may_be_given_more_rounds(run_config, tmp_path):
    run_config |= {"num-server-rounds": 4}
    whole, _, _ = run(run_config)
    run_config["output-dir"] = str(tmp_path / "again")
    folder, _, _ = run(run_config | {"num-server-rounds": 2})
    resumed(run_config)
    last = [metrics(f).iloc[-1].dropna() for f in (whole, folder)]
    assert dict(last[0]) == dict(last[1])
    assert files(whole) == files(folder)


def test_a_finished_run_writes_its_adapters_again(run_config):
    folder, _, _ = run(run_config)
    before, table = files(folder), metrics(folder)
    for path in folder.glob("adapter/*"):
        path.unlink()
    resumed(run_config)
    assert files(folder) == before
    pandas.testing.assert_frame_equal(metrics(folder), table, check_exact=True)


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


def test_with_keep_checkpoints_0_nothing_is_kept(corrected, tmp_path, monkeypatch):
    monkeypatch.setenv("ILORA_STATE", str(tmp_path / "nodes"))
    folder, _, _ = run(corrected | {"keep-checkpoints": 0})
    assert not (folder / "checkpoints").exists()
    assert not (tmp_path / "nodes").exists()


def test_another_number_of_partitions_is_refused(run_config):
    interrupted(run_config)
    with pytest.raises(FederationError, match=r"in 3 parts, .* one of 4"):
        resumed(run_config, nodes=4)
