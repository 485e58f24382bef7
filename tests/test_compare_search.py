"""Which learning rates are tried: the search near the best one, and the finalists."""

from collections.abc import Callable

import pytest

from ilora_app.compare import rates as choosing
from ilora_app.compare import runner
from ilora_app.compare.jobs import Job
from tests.made_up import entry, finish, plan, rounds

GRID = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03)


class Made:
    """An engine whose runs have made-up accuracies on held-out data."""

    name = "made-up"

    def __init__(self, accuracy: Callable[[float, int], float]) -> None:
        self.accuracy = accuracy
        self.ran: list[tuple[float, int]] = []

    def run(self, jobs, watch) -> None:
        for job in jobs:
            self._run(job)

    def _run(self, job: Job) -> None:
        self.ran.append((job.rate, job.seed))
        held_out = self.accuracy(job.rate, job.seed)
        finish(job, rounds(0.1, 0.5, held_out_accuracy=held_out))

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("best", "tried"),
    [
        (0.003, {0.001, 0.003, 0.01}),
        (0.001, {0.0003, 0.001, 0.003, 0.01}),
        (0.0001, {0.0001, 0.0003, 0.001, 0.003, 0.01}),
        (0.03, {0.001, 0.003, 0.01, 0.03}),
    ],
)
def test_the_search_goes_on_until_both_neighbours_of_the_best_are_worse(
    tmp_path, best, tried
):
    made = plan(tmp_path, entry(), rates=GRID, seeds=3, near=True)
    engine = Made(lambda rate, seed: 1 - abs(GRID.index(rate) - GRID.index(best)) / 10)
    runner.run(made, engine, None)
    assert {rate for rate, seed in engine.ran if seed == 0} == tried
    assert {rate for rate, seed in engine.ran if seed > 0} == {best}
    choice = choosing.choose(made, made.entries[0])
    assert (choice.rate, choice.edge) == (best, best in (GRID[0], GRID[-1]))
    again = Made(engine.accuracy)
    runner.run(made, again, None)
    assert again.ran == []


def test_finalists_are_decided_over_all_seeds(tmp_path):
    """0.003 is ahead with seed 0 and behind with the others."""
    by_rate = {0.001: (0.6, 0.7, 0.7), 0.003: (0.65, 0.5, 0.5), 0.01: (0.2, 0.9, 0.9)}
    rates = tuple(by_rate)
    for finalists, expected in ((1, 0.003), (2, 0.001)):
        out = tmp_path / str(finalists)
        made = plan(out, entry(), rates=rates, seeds=3, finalists=finalists)
        engine = Made(lambda rate, seed: by_rate[rate][seed])
        runner.run(made, engine, None)
        assert choosing.choose(made, made.entries[0]).rate == expected
        with_all = {rate for rate in rates if (rate, 2) in engine.ran}
        assert with_all == ({0.003} if finalists == 1 else {0.001, 0.003})
        assert len(engine.ran) == len(set(engine.ran))
