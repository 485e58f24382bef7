r"""Rounds that end at a deadline: how long, what a node takes on, what it counts.

ADEL-FL (arXiv 2505.23973) has every node return the layers that backpropagation has
finished by the deadline, and takes w_l += sum_k 1[l done by k] p_k Delta_kl /
P(l done by k). Its exact formulas are not public; here [choices]

- a round has N local steps for everybody, and slower nodes take smaller batches:
  b_k = floor(h T / (N tau_k)), at most batch-size, tau_k being the seconds an example
  that the node was last measured to need, h = 0.9;
- T is the part of the budget that is left, over the rounds that are left, but no more
  than the slowest node needs for N whole steps;
- with X_kl the steps that layer l took, Delta_kl is weighed with N / E[X_kl]: one over
  P(l done by k) where N = 1, and unbiased to first order in the rate otherwise. E[X_kl]
  = sum_i Phi((T - (i - 1 + f_l) m) / (sd sqrt(i - 1 + f_l^2))), m = b_k tau_k the mean
  and sd the deviation of a step's time, f_l the part of a step after which
  backpropagation has finished l;
- a node without a measured speed (round 1) trains with the whole batch, and X_kl itself
  is what is known of E[X_kl]; no layer is weighed with more than 10.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from logging import WARNING
from statistics import NormalDist

from flwr.supercore import log

from ilora_app.methods import Method
from ilora_app.methods.state import Update
from ilora_app.settings import Settings
from ilora_app.settings.deadline import finished_at

_HEADROOM = 0.9
_LARGEST = 10.0


@dataclass(frozen=True)
class Speed:
    """Seconds an example: mean, and standard deviation over steps."""

    mean: float
    spread: float


@dataclass(frozen=True)
class Task:
    """What a node is given for a round: the deadline, and its batch size."""

    seconds: float
    batch_size: int


def expected_steps(
    seconds: float, steps: int, step: float, spread: float, part: float
) -> float:
    """E[X]: how many of N steps a layer is expected to finish by the deadline.

    Args:
        seconds: T.
        steps: N.
        step: seconds a step takes.
        spread: its standard deviation.
        part: f, the part of a step after which the layer is finished.

    """
    found = 0.0
    for i in range(1, steps + 1):
        left = seconds - (i - 1 + part) * step
        if spread:
            deviation = spread * (i - 1 + part**2) ** 0.5
            found += NormalDist(0.0, deviation).cdf(left)
        else:
            found += float(left >= 0)
    return found


class Deadlines:
    """Of a run.

    Args:
        round_deadline: T of every round; 0 where there is a budget.
        time_budget: seconds of all rounds together; 0 where there is none.
        steps: N.
        batch_size: the largest.

    """

    def __init__(
        self, round_deadline: float, time_budget: float, steps: int, batch_size: int
    ) -> None:
        self._fixed, self._budget = round_deadline, time_budget
        self.steps, self._largest = steps, batch_size
        self._speeds: dict[int, Speed] = {}
        self._tasks: dict[int, tuple[Task, Speed | None]] = {}
        self.spent = 0.0

    @classmethod
    def of(cls, settings: Settings) -> "Deadlines | None":
        """What the settings ask for; None where all are waited for."""
        chosen, training = settings.deadline, settings.training
        if not chosen.on:
            return None
        fixed = 0.0 if chosen.time_budget else chosen.round_deadline
        sizes = training.local_steps, training.batch_size
        return cls(fixed, chosen.time_budget, *sizes)

    def begin_round(self, server_round: int, rounds: int, nodes: Sequence[int]) -> None:
        """Choose the deadline and the batches of a round."""
        seconds = self._fixed
        if not seconds:
            left = max(self._budget - self.spent, 0.0)
            if not left:
                log(WARNING, "The time budget of %g s is used up", self._budget)
            seconds = left / max(rounds - server_round + 1, 1)
            known = [self._speeds[node].mean for node in nodes if node in self._speeds]
            if len(known) == len(nodes):
                whole = self.steps * self._largest * max(known, default=0.0)
                seconds = min(seconds, whole / _HEADROOM)
        self._tasks = {}
        for node in nodes:
            speed, size = self._speeds.get(node), self._largest
            if speed is not None:
                affordable = _HEADROOM * seconds / (self.steps * speed.mean)
                size = max(1, min(size, int(affordable)))
            self._tasks[node] = (Task(seconds, size), speed)

    def task(self, node: int) -> Task:
        """What a node is given in this round."""
        return self._tasks[node][0]

    def weigh(self, method: Method, updates: Sequence[Update]) -> list[Update]:
        """Weigh every layer of every update by how much of it was to be expected.

        Notes how fast nodes were, and how long the round took, too.
        """
        found, spent = [], 0.0
        for update in updates:
            by = self._weights(update.node, update.progress)
            found.append(replace(update, adapter=method.extrapolate(update, by)))
            if update.speed[0]:
                self._speeds[update.node] = Speed(*update.speed)
            longest = self._tasks[update.node][0].seconds  # whatever the node says
            spent = max(spent, min(update.seconds, longest))
        self.spent += spent
        return found

    def _weights(self, node: int, steps: Mapping[str, float]) -> dict[str, float]:
        """N / E[X_kl] by layer, of the layers in the order of the model."""
        task, speed = self._tasks[node]
        found = {}
        ends = finished_at(len(steps))
        for (layer, expected), part in zip(steps.items(), ends, strict=True):
            if speed is not None:
                size = task.batch_size
                step = size * speed.mean, size * speed.spread
                expected = expected_steps(task.seconds, self.steps, *step, part)
            few = expected * _LARGEST <= self.steps
            found[layer] = _LARGEST if few else self.steps / expected
        return found

    def take_over(self, old: int, new: int) -> None:
        """Note that a node came back under another id."""
        if old in self._speeds:
            self._speeds[new] = self._speeds.pop(old)

    def saved(self, names: Mapping[int, str]) -> dict[str, object]:
        """For a checkpoint, as JSON can hold it."""
        speeds = {
            names[n]: [s.mean, s.spread] for n, s in self._speeds.items() if n in names
        }
        return {"spent": self.spent, "speeds": speeds}

    def load(self, saved: Mapping[str, object], nodes: Mapping[str, int]) -> None:
        """Go on from what :meth:`saved` gave."""
        speeds: Mapping[str, Sequence[float]] = saved["speeds"]  # type: ignore[assignment]
        self.spent = float(saved["spent"])  # type: ignore[arg-type]
        self._speeds = {nodes[name]: Speed(*values) for name, values in speeds.items()}
