"""A head that is solved by sums over clients, instead of being trained.

One message asks every connected member for the sums of its training examples' features
under the model that it holds; their total gives the head of the pooled data. Late and
returning members are part of the next solve.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from flwr.app import ConfigRecord, Message, MessageType
from flwr.serverapp import Grid
from torch import Tensor

from ilora_app import wire
from ilora_app.federation import messages
from ilora_app.federation.event_log import EventLog
from ilora_app.federation.exchange import exchange
from ilora_app.federation.global_model import GlobalModel
from ilora_app.federation.limits import Limits
from ilora_app.federation.member import Member
from ilora_app.federation.outliers import FEWEST
from ilora_app.federation.replies import Request, collect
from ilora_app.federation.reply_size import LEAST
from ilora_app.federation.robust_sums import disagreeing
from ilora_app.lora.ridge import RidgeSums, square
from ilora_app.methods import Method

TEMPERATURE = 0.1
"""tau of the solved head: a softmax over it is neither flat nor hard."""

# Eigenvalues of a Gram matrix this far below zero, of the largest, are rounding.
_ROUNDING = 1e-9
_SLACK = 1e-6
_HEAD = "head"


@dataclass(frozen=True)
class RidgeHead:
    """Solves the last layer of a classifier.

    Attributes:
        layer: name of its parameters in the head.
        features: h.
        classes: C.
        bias: it has one.
        ridge: lambda, as a part of the mean squared length of a feature.
        refit_every: rounds between solving again; 0: before round 1 alone.
        limits: on what a member may bring in.

    """

    layer: str
    features: int
    classes: int
    bias: bool = True
    ridge: float = 0.001
    refit_every: int = 0
    limits: Limits = field(default_factory=Limits)

    def is_due(self, server_round: int, num_rounds: int, solved: bool = True) -> bool:
        """Whether the head is solved after this round; 0 is before round 1.

        One that was never solved is due: nobody can learn under a random one.
        """
        if not solved or not server_round or not self.refit_every:
            return not solved or not server_round
        last = server_round == num_rounds
        return last or server_round % self.refit_every == 0

    def solve(
        self,
        server_round: int,
        method: Method,
        model: GlobalModel,
        members: Sequence[Member],
        grid: Grid,
        config: ConfigRecord,
        timeout: float,
        events: EventLog,
    ) -> dict[str, int | float]:
        """Ask members for their sums, and put the solved layer into the model's head.

        Without a usable reply the head stays as it is.

        Args:
            server_round: after which it is solved; 0 before round 1.
            method: says what a member holds.
            model: the global one.
            members: that are connected.
            grid: of the run.
            config: added to the config record of every message.
            timeout: seconds to wait for replies.
            events: replies that are left out are recorded there.

        Returns:
            Columns of the round: bytes both ways, and the examples behind the head.

        """
        requests, sent = self.questions(server_round, method, model, members, config)
        size = 4 * 8e-6 * (self.features + 1) * (self.features + 1 + self.classes)
        standing = events.standing
        seconds = standing.wait(_HEAD, requests, timeout)
        payloads = events.payloads(server_round, _HEAD)
        how = seconds, standing.came, LEAST + size, None, payloads
        replies = exchange(grid, sent, *how)
        good, bad = collect(requests, replies, self.read, seconds)
        good, out = self._held(good, members)
        right = [member.node_id for member, _ in good]
        good, passed = self._agreeing(good)
        standing.set_apart(passed)
        events.replies(server_round, _HEAD, right, bad + out, passed=passed)
        total = sum(
            (sums for _, sums in good), RidgeSums.zeros(self.features, self.classes)
        )
        solved = self.head(model.state.adapter.head, total) if good else None
        if solved:
            model.replace_head(solved)
        else:
            why = "its sums have no solution" if good else "no usable sums"
            events.model_stays(server_round, f"the head is not solved: {why}")
        contents = [reply.content for reply in replies if reply.has_content()]
        return {
            "bytes_down_head": sum(wire.content_bytes(m.content) for m in sent),
            "bytes_up_head": sum(wire.content_bytes(c) for c in contents),
            **({"head_examples": total.examples()} if solved else {}),
        }

    def questions(
        self,
        server_round: int,
        method: Method,
        model: GlobalModel,
        members: Sequence[Member],
        config: ConfigRecord,
    ) -> tuple[dict[int, Request], list[Message]]:
        """Messages that ask members for their sums; arguments as of :meth:`solve`."""
        plan, state = model.plan(), model.state
        requests = {
            member.node_id: Request(
                member, method.evaluation_share(state, member.rank), plan
            )
            for member in members
        }
        sent, shared = [], messages.Shared()
        for node, request in requests.items():
            facts = {
                **config,
                wire.ROUND: server_round,
                wire.RANK: request.member.rank,
                wire.TEST_SPLIT: False,
                wire.HEAD_SUMS: True,
            }
            content = messages.write(request.share, plan, model, node, facts)
            sent.append(Message(shared(content), node, MessageType.EVALUATE))
        return requests, sent

    def read(self, reply: Message, request: Request) -> tuple[Member, RidgeSums]:
        """Read the sums of one node.

        Raises:
            WireError: another shape, numbers that are not finite, a matrix that is no
                Gram matrix, counts of other examples than the node has, or a class
                with a sum that its examples cannot have: for the features x of n_c
                examples ||sum x||^2 <= n_c sum ||x||^2 (Cauchy and Schwarz).

        """
        like = RidgeSums.zeros(self.features, self.classes)
        expected = {wire.GRAM: like.gram, wire.CROSS: like.cross}
        found = wire.decode_checked(
            reply.content.get(wire.HEAD_SUMS), expected, wire.HEAD_SUMS
        )
        sums = RidgeSums(found[wire.GRAM], found[wire.CROSS])
        counts, n = sums.cross[-1], sums.examples()
        whole = bool(((counts >= 0) & (counts == counts.round())).all())
        if n != request.member.examples or not whole or float(counts.sum()) != n:
            raise wire.WireError(
                f"{wire.HEAD_SUMS}: counts {n:g} examples, expected "
                f"{request.member.examples} in whole numbers by class"
            )
        values = torch.linalg.eigvalsh(square(sums.gram, self.features + 1))
        if float(values[0]) < -_ROUNDING * float(values[-1]):
            raise wire.WireError(f"{wire.HEAD_SUMS}: {wire.GRAM} is no Gram matrix")
        if not math.isfinite(sums.length()):
            raise wire.WireError(f"{wire.HEAD_SUMS}: features of infinite length")
        most = counts * n * sums.length() ** 2
        if bool((sums.cross[:-1].square().sum(dim=0) > most * (1 + _SLACK)).any()):
            raise wire.WireError(
                f"{wire.HEAD_SUMS}: {wire.CROSS} is larger than features of the "
                f"lengths in {wire.GRAM} can make it"
            )
        return request.member, sums

    def _held(
        self, found: Sequence[tuple[Member, RidgeSums]], members: Sequence[Member]
    ) -> tuple[list[tuple[Member, RidgeSums]], list[tuple[Member, str]]]:
        """Leave out features of another length, and count nobody for too many."""
        limits = self.limits.beside([float(member.examples) for member in members])
        ratio, lengths = limits.max_norm_ratio, [sums.length() for _, sums in found]
        most = math.inf
        if ratio and len(found) >= FEWEST:
            most = ratio * statistics.median(lengths) or math.inf
        kept, out = [], []
        for (member, sums), length in zip(found, lengths, strict=True):
            if length > most:
                times = length / most * ratio
                why = f"its features have length {length:.4g}, {times:.3g} times the "
                out.append((member, f"{why}median; max-norm-ratio is {ratio:g}"))
                continue
            n = sums.examples()
            kept.append((member, sums.times(limits.examples(n) / n)))
        return kept, out

    def _agreeing(
        self, found: Sequence[tuple[Member, RidgeSums]]
    ) -> tuple[list[tuple[Member, RidgeSums]], list[int]]:
        """Under ``robust`` pass over those whose classes are not the others'.

        Until the head is solved again they do not train either.
        """
        if self.limits.robust == "none":
            return list(found), []
        sums = [own for _, own in found]
        strange = set(disagreeing(sums, self.ridge, self.bias))
        kept = [pair for k, pair in enumerate(found) if k not in strange]
        return kept, [found[k][0].node_id for k in sorted(strange)]

    def head(
        self, old: Mapping[str, Tensor], sums: RidgeSums
    ) -> dict[str, Tensor] | None:
        """Put the solved layer into a head; all else stays. None where it has none."""
        try:
            W = sums.solve(self.ridge, TEMPERATURE, self.bias).float()
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            return None
        if not bool(W.isfinite().all()):
            return None
        solved = {f"{self.layer}.weight": W[: self.features].T.contiguous()}
        if self.bias:
            solved[f"{self.layer}.bias"] = W[-1].contiguous()
        return {**old, **solved}
