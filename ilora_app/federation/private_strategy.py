"""A strategy whose models are differentially private: no node's part can be told.

The unit is a node with all its data. What is protected is every model that leaves the
server; what nodes say of their losses and accuracies is not, and stays with the
operator.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from logging import INFO
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.supercore import log

from ilora_app.federation.aggregation import UnusableError, aggregate
from ilora_app.federation.evaluation import TRAIN
from ilora_app.federation.limits import Limits
from ilora_app.federation.release import Release
from ilora_app.federation.replies import Request
from ilora_app.federation.rounds import Row, Stop
from ilora_app.federation.snapshot import Snapshot
from ilora_app.federation.strategy import LoraStrategy
from ilora_app.methods.state import Update
from ilora_app.methods.sums import Sketch
from ilora_app.privacy.spending import Spending

CLIP, NEXT = "clip", "clip_next"


class PrivateStrategy(LoraStrategy):
    """Runs a method over clipped sums with noise.

    Args:
        arguments: of :class:`LoraStrategy`.
        release: clips and adds noise.
        spending: counts what rounds cost.

    """

    def __init__(
        self, *arguments: Any, release: Release, spending: Spending, **named: Any
    ) -> None:
        # The clip bounds what a node changes. A bound made of the others' norms would
        # have every node decide how much of the others is used.
        named["limits"] = replace(named.get("limits") or Limits(), max_norm_ratio=0.0)
        super().__init__(*arguments, **named)
        self._release, self._spending = release, spending
        self._asked: list[int] = []

    def resume(self, taken: Snapshot, rows: list[Row]) -> None:
        """Go on counting, with the noise and the clip that there were."""
        super().resume(taken, rows)
        self._spending.resume(rows)
        z = self._spending.budget.multiplier
        self._release = replace(self._release, multiplier=z)
        clips = [row[NEXT] for row in rows if NEXT in row]
        if clips and self._release.quantile is not None:
            self._release = replace(self._release, clip=clips[-1])

    def summary(self) -> None:
        """Log the settings, and what all rounds cost."""
        super().summary()
        budget, rounds = self._spending.budget, self.num_rounds
        z, C, delta = budget.multiplier, self._release.clip, budget.delta
        whole = budget.spent(rounds)
        text = "Private by node: noise %.4g x clip %g, epsilon %.3g in %d rounds at %g"
        log(INFO, text, z, C, whole, rounds, delta)
        self.events.private(z, C, delta, whole, rounds)

    def until(self, stop: Stop | None) -> Stop:
        """End before a round that would exceed the budget."""
        return self._spending.ends(stop)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """As any strategy; who is asked counts, whether or not it answers."""
        sent = list(super().configure_train(server_round, arrays, config, grid))
        self._asked = [message.metadata.dst_node_id for message in sent]
        return sent

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Make the next model of one update: the noisy mean of what nodes learned."""
        state = self.state
        by_node = {r.metadata.src_node_id: r for r in replies}
        updates, bad = self._training.read(by_node, self.events.standing.waited)
        good = [update.node for update in updates]
        self.events.replies(server_round, TRAIN, good, bad)
        self.model.versions.note(good, [m.node_id for m, _ in bad], 0)
        asked = self._training.requests(self._asked)
        rounds = self.num_rounds
        measured = {node: asked[node] for node in good}
        self.evaluation.read_with_training(server_round, measured, by_node, rounds)
        there = {update.node: update for update in updates}
        whole = [there.get(node) or _unchanged(r) for node, r in asked.items()]
        try:
            too_few = self.limits.enough(updates)
            if too_few:
                raise UnusableError(too_few)
            sketch = Sketch(
                self.method.noisy_sums(state), state.adapter.factors.rank, 0
            )
            up = self.model.plan().up
            update = self._release.update(self.method, state, sketch, whole, up)
            after = partial(self._training.correct, server_round, state, [])
            limits = replace(self.limits, min_replies=1)
            made, arrays = aggregate(self.method, limits, self.model, [update], after)
        except UnusableError as error:
            self.events.model_stays(server_round, str(error))
            return None, None
        self._spending.release()
        clip, self._release = self._release.clip, self._release.after(sketch, whole)
        self.model.advance(made.state)
        self.model.versions.take(good, server_round)
        found: dict[str, int | float] = {
            "clients": len(updates),
            "train_loss": sum(update.loss for update in updates) / len(updates),
            "seconds_client_mean": sum(u.seconds for u in updates) / len(updates),
            **self._spending.columns(),
        }
        if self._release.quantile is not None:
            found |= {CLIP: clip, NEXT: self._release.clip}
        return arrays, MetricRecord({**found})


def _unchanged(request: Request) -> Update:
    """What a node that has not answered adds: what it was sent."""
    share, member = request.share, request.member
    return Update(member.node_id, member.rank, share, share.adapter, 1.0, 0.0, 0.0)
