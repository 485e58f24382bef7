"""``ilora run --ray-address``: clients on a Ray cluster of two unequal nodes."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from ray.cluster_utils import Cluster

from ilora_app.launch.superlink import BIN
from ilora_app.settings import Settings, parsing
from tests.conftest import read_events
from tests.local_run import files, metrics
from tests.local_run import run as run_here
from tests.own_processes import wait


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head with one core, and a node with two and what it says is a GPU."""
    found = Cluster()
    try:
        found.add_node(num_cpus=1, num_gpus=0, include_dashboard=False)
        found.add_node(num_cpus=2, num_gpus=1)
        found.wait_for_nodes()
        yield found
    finally:
        found.shutdown()


def actors(cluster: Cluster) -> list[int]:
    """How many of Flower's actors each node of the cluster has now."""
    found = []
    for node in cluster.list_all_nodes():
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        names = []
        for child in raylet.children():
            try:
                names.append(" ".join(child.cmdline()))
            except psutil.NoSuchProcess:
                continue
        found.append(sum(name.startswith("ray::ClientAppActor") for name in names))
    return found


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(("gpus", "wanted"), [(None, [1, 2]), ("0.5", [0, 2])])
def test_clients_run_on_the_nodes_that_have_what_they_need(
    cluster, run_config, tmp_path, gpus: str | None, wanted: list[int]
):
    """And learn what they learn in one process."""
    config: dict[str, Any] = run_config | {"output-dir": str(tmp_path / "cluster")}
    changed = {k: v for k, v in config.items() if v != DEFAULTS[k]}
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in changed.items()}
    words = ["--clients", "3", "--ray-address", cluster.address, "--json"]
    words += ["--gpus", gpus] if gpus else []
    words += [f"--set={k}={v}" for k, v in texts.items()]
    with (
        tempfile.TemporaryDirectory(prefix="t-", ignore_cleanup_errors=True) as place,
        subprocess.Popen(
            [BIN / "ilora", "run", *words],
            env=os.environ | {"TMPDIR": place},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as command,
    ):
        most = [0, 0]

        def ended() -> bool:
            most[:] = map(max, most, actors(cluster))
            return command.poll() is not None

        wait(ended, 400, "the run", lambda: str(most), every=0.2)
        out, err = command.communicate()
    assert command.returncode == 0, err
    assert most == wanted
    folder = tmp_path / "cluster"
    assert json.loads(out)["folder"] == str(folder)
    assert len(read_events(folder, "member")) == 3
    here, _, _ = run_here(run_config)
    columns = [c for c in metrics(here) if not c.startswith("bytes")]
    assert metrics(folder)[columns].equals(metrics(here)[columns])
    assert files(folder) == files(here)
    # The cluster stays, and nothing of the run does.
    wait(lambda: actors(cluster) == [0, 0], 60, "the actors' end", lambda: "")


DEFAULTS = parsing.dump(Settings())
