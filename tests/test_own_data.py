"""Nodes that hold data of their own, tokenised data kept on disk, and the plot."""

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from flwr.app import Context, RecordDict

from ilora_app import wire
from ilora_app.federation.waiting import FederationError
from ilora_app.launch.local_grid import LocalGrid
from ilora_app.node import data as node_data
from ilora_app.node.node import Node
from ilora_app.server import enrolment, preflight
from ilora_app.server.run import Server
from ilora_app.tasks import cache, data, encoded_split, sources
from tests import tiny_models
from tests.conftest import read_events
from tests.local_run import client_app, metrics, run

ROWS = 60


@pytest.fixture
def folders(tmp_path: Path, small_data: str) -> list[str]:
    """Three folders in three formats: other columns' order, other classes each."""
    lines = (Path(small_data) / "train.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    named = []
    for index, (form, domains) in enumerate((("jsonl", 3), ("csv", 6), ("jsonl", 10))):
        folder = tmp_path / f"hospital-{index}"
        folder.mkdir()
        seen = sorted({row["domain"] for row in rows})[:domains]
        mine = [row for row in rows if row["domain"] in seen][index::3][:ROWS]
        if form == "csv":
            text = "domain,text\n" + "".join(
                f'{row["domain"]},"{row["text"]}"\n' for row in mine
            )
            (folder / "records.csv").write_text(text)
        else:
            text = "".join(json.dumps(row) + "\n" for row in mine)
            (folder / "records.jsonl").write_text(text)
        named.append(str(folder))
    return named


def grid_of(run_config: dict[str, Any], configs: list[dict[str, Any]]) -> LocalGrid:
    """Nodes with the node config given and no partition."""
    grid = LocalGrid(client_app.app, run_config, len(configs))
    for context, node_config in zip(grid._contexts.values(), configs, strict=True):
        context.node_config = node_config
    return grid


def federate(run_config: dict[str, Any], configs: list[dict[str, Any]]) -> Path:
    grid = grid_of(run_config, configs)
    prepared = preflight.prepare(Context(1, 0, {}, RecordDict(), run_config).run_config)
    server = Server(prepared, enrolment.meet(grid, prepared), grid, run_id=1)
    server.run()
    return server.folder.path


@pytest.mark.slow
def test_nodes_whose_data_has_one_path_are_told_apart(run_config, small_data, tmp_path):
    """Each on its machine; a resumed run meets them in another order."""
    run_config |= {"keep-checkpoints": 1, "client-ranks": "2,4,8"}
    nodes = [
        {"data-path": small_data, "lora-rank": rank, "state-path": str(tmp_path / name)}
        for rank, name in ((4, "one"), (8, "two"), (2, "three"))
    ]
    folder = federate(run_config | {"num-server-rounds": 1}, nodes)
    resumed = {"resume": "latest", "output-dir": str(folder), "num-server-rounds": 2}
    federate(run_config | resumed, [nodes[2], nodes[0], nodes[1]])
    met = read_events(folder, "member")
    ranks = [{e["identity"]: e["rank"] for e in met[i : i + 3]} for i in (0, 3)]
    assert ranks[0] == ranks[1]
    assert sorted(ranks[0].values()) == [2, 4, 8]


def test_seeds_are_of_the_data_and_not_of_its_path(run_config, small_data):
    """One path on two machines: other batches there, and the same in any folder."""

    def seed(rows: slice, here: Path) -> int:
        here.mkdir(parents=True, exist_ok=True)
        (here / "train.jsonl").write_text("\n".join(lines[rows]) + "\n")
        for cached in (
            sources._opened, sources.split, data.resolve_own_columns, node_data._digest,
            node_data._examples,
            node_data._encoded,
        ):  # fmt: skip
            cached.cache_clear()  # as in another process
        context = Context(
            1, 1, {"data-path": str(here), "lora-rank": 4}, RecordDict(), run_config
        )
        return Node.of(context, classes).seed(1)

    lines = (Path(small_data) / "train.jsonl").read_text().splitlines()
    place = Path(run_config["output-dir"]).parent
    here, there = place / "data", place / "moved" / "to" / "another"
    classes = tuple(sorted({json.loads(line)["domain"] for line in lines}))
    one, other = seed(slice(0, 200), here), seed(slice(200, 400), here)
    assert one != other
    assert seed(slice(0, 200), here) == seed(slice(0, 200), there) == one


@pytest.mark.slow
def test_nodes_with_folders_of_their_own_federate(run_config, folders):
    configs = [
        {wire.DATA_PATH: folder, wire.RANK: rank}
        for folder, rank in zip(folders, (2, 4, 8), strict=True)
    ]
    folder = federate(run_config, configs)
    members = read_events(folder, "member")
    assert sorted(m["rank"] for m in members) == [2, 4, 8]
    held = [m["examples"] for m in members]
    assert all(0 < n <= ROWS for n in held)
    assert sum(held) > ROWS
    assert metrics(folder)["clients"].iloc[-1] == 3


def test_the_server_needs_no_training_data_then(run_config, folders, tmp_path):
    only_test = tmp_path / "only-test"
    only_test.mkdir()
    source = Path(run_config["dataset"]) / "test.jsonl"
    (only_test / "test.jsonl").write_text(source.read_text())
    changed = run_config | {"dataset": str(only_test), "train-split": ""}
    configs = [{wire.DATA_PATH: folder, wire.RANK: 2} for folder in folders]
    assert metrics(federate(changed, configs))["clients"].iloc[-1] == 3
    partition = {wire.PARTITION: 0, wire.PARTITIONS: 1}
    changed |= {"output-dir": str(tmp_path / "b"), "min-available-nodes": 1}
    with pytest.raises(FederationError, match="train-split = '': no data is dealt out"):
        federate(changed, [partition])


@pytest.mark.parametrize(
    ("node_config", "expected"),
    [
        (
            {wire.DATA_PATH: "/no/such/ward", wire.RANK: 2},
            "its data folder is not there",
        ),
        ({wire.DATA_PATH: 7, wire.RANK: 2}, "data-path: expected a folder"),
        ({wire.RANK: 2}, "expected whole numbers"),
    ],
)
def test_a_node_that_cannot_take_part_is_left_out_with_its_reason(
    run_config, folders, node_config, expected
):
    configs = [node_config, {wire.DATA_PATH: folders[0], wire.RANK: 2}]
    grid = grid_of(run_config, configs)
    prepared = preflight.prepare(run_config)
    federation = enrolment.meet(grid, prepared)
    assert [m.rank for m in federation.members] == [2]
    (reason,) = federation.left_out.values()
    assert expected in reason


def test_a_class_that_the_federation_does_not_know_leaves_the_node_out(
    run_config, folders, caplog
):
    path = Path(folders[0]) / "records.jsonl"
    row = '{"text": "PATIENT Jane Doe", "domain": "astrology of Jane Doe"}\n'
    path.write_text(path.read_text() + row * 20)
    grid = grid_of(run_config, [{wire.DATA_PATH: f, wire.RANK: 2} for f in folders])
    federation = enrolment.meet(grid, preflight.prepare(run_config))
    assert len(federation.members) == 2
    (reason,) = federation.left_out.values()
    assert "1 of the classes in its data are none of the federation's" in reason
    assert "its own log says more" in reason
    # Neither what is in the data nor where it lies leaves the machine.
    assert "astrology" not in reason
    assert folders[0] not in reason
    assert "the class 'astrology of Jane Doe' is not one of" in caplog.text


def test_pooling_is_refused_where_data_is_not_shared(run_config, folders):
    context = Context(
        1, 1, {wire.DATA_PATH: folders[0], wire.RANK: 2}, RecordDict(), run_config
    )
    with pytest.raises(ValueError, match="which nodes with data of their own do not"):
        Node.of(context, ("a", "b")).pooled()


@pytest.mark.slow
def test_tokenised_rows_are_kept_where_the_operator_says(
    run_config, tmp_path, monkeypatch
):
    first = metrics(run(run_config)[0])
    monkeypatch.setenv(cache.FOLDER, str(tmp_path / "cache"))

    tables = []
    for name in ("cold", "warm"):
        node_data._examples.cache_clear()
        node_data._encoded.cache_clear()
        encoded_split._encoded.cache_clear()
        changed = run_config | {"output-dir": str(tmp_path / name)}
        tables.append(metrics(run(changed)[0]))
        kept = [path.name for path in (tmp_path / "cache").iterdir()]
        assert len(kept) == 7  # three clients' two parts, and the test split
        assert not [name for name in kept if name.startswith(".")]
    for table in tables:
        assert first.equals(table)


def test_a_cache_that_cannot_be_written_costs_nothing(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv(cache.FOLDER, str(tmp_path / "file" / "cache"))
    made = [{"input_ids": [1, 2]}]
    data, how = Dataset.from_dict({"text": ["a"]}), (1, 2)
    assert cache.rows(data, tiny_models.tokenizer(), how, lambda: made) == made
    assert "tokenised rows are not kept" in caplog.text


def test_the_plot_of_the_partitions_is_in_the_run_folder(run_config):
    folder, _, _ = run(run_config | {"partition-plot": True, "num-server-rounds": 1})
    picture = (folder / "partitions.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 5000
