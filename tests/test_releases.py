"""What a private run has released is counted, whatever is cut off, torn or gone."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from ilora_app import client_app
from ilora_app.federation.release import Release
from ilora_app.federation.secure_session import SecureSession
from ilora_app.privacy.budget import Budget, spent
from ilora_app.privacy.spending import NOISE, RELEASES, Spending
from ilora_app.runs.releases import Releases
from ilora_app.runs.writing import PlaceError
from tests.interruptions import PowerCutError, resumed, start
from tests.local_run import FaultyGrid, metrics, run
from tests.test_private_run import config  # noqa: F401

BLIND = {"secure_aggregation": True, "client_ranks": "4,8,8"}


class CutOff(FaultyGrid):
    """A grid that ends the run once nodes have evaluated a round's model."""

    def send_and_receive(self, messages, *, timeout=None):
        messages = list(messages)
        replies = super().send_and_receive(messages, timeout=timeout)
        for message in messages:
            asked: Any = message.content.config_records.get("config", {})
            kind = message.metadata.message_type
            if kind == "evaluate" and asked["server-round"] == 2:
                raise PowerCutError
        return replies


@pytest.mark.slow
@pytest.mark.parametrize("keys", [{}, BLIND], ids=["server", "nodes"])
def test_a_model_that_has_left_counts_in_a_round_that_was_cut_off(
    config,  # noqa: F811
    monkeypatch,
    keys,
):
    left = []

    def counted(owner: Any, name: str) -> None:
        call = getattr(owner, name)

        def counting(self: Any, *args: Any, **more: Any) -> Any:
            if name == "update" or not args[0]:  # the first of two sums
                left.append(1)
            return call(self, *args, **more)

        monkeypatch.setattr(owner, name, counting)

    counted(*((SecureSession, "open") if keys else (Release, "update")))
    job = config(**keys)
    for times in range(3):
        more = {"resume": "latest"} if times else {}
        with pytest.raises(PowerCutError):
            start(job | more, CutOff(client_app.app, job | more, 3))
    resumed(job)
    table = metrics(Path(job["output-dir"]))
    assert len(left) == 5
    assert table[RELEASES].tolist()[1:] == [1, 5]
    assert table["epsilon"].tolist()[2] == pytest.approx(spent(2.0, 0.01, 5))


@pytest.mark.slow
def test_a_checkpoint_that_is_gone_takes_nothing_back(config):  # noqa: F811
    job = config()
    folder, _, _ = run(job)
    shutil.rmtree(folder / "checkpoints" / "round-2")
    again, _, _ = run(job | {"resume": str(folder)})
    assert metrics(again)[RELEASES].tolist()[1:] == [1, 3]


@pytest.mark.parametrize(
    ("rows", "kept", "found"),
    [
        ([], None, 0),
        ([{"round": 0}], None, 1),  # a first round may have been cut off
        ([{"round": 0}], 0, 0),
        ([{"round": 0}, {"round": 1, NOISE: 2.0, RELEASES: 1}], None, 2),
        ([{"round": 0}, {"round": 1, NOISE: 2.0, RELEASES: 1}, {"round": 2}], None, 3),
        ([{"round": 0}, {"round": 1, NOISE: 2.0, RELEASES: 1}, {"round": 2}], 1, 1),
        ([{"round": 0}, {"round": 1, NOISE: 2.0, RELEASES: 4}], 1, 4),
        ([{"round": 0}, {"round": 1, NOISE: 2.0}], 7, 7),
    ],
)
def test_what_is_known_after_a_break(tmp_path, rows, kept, found):
    count = Releases(tmp_path)
    if kept is not None:
        count.keep(kept)
    spending = Spending(Budget(0.01, 0.0, 2.0), Releases(tmp_path))
    spending.resume(rows)
    assert spending.releases == found
    spending.release()
    assert count.known() == found + 1


def test_what_cannot_be_read_or_written_is_no_zero(tmp_path):
    count = Releases(tmp_path)
    assert count.known() is None
    (tmp_path / "releases.json").write_text("{")
    with pytest.raises(PlaceError, match="what it has spent is not known"):
        count.known()
    with pytest.raises(PlaceError, match="cannot be counted"):
        Releases(tmp_path / "none").keep(1)
