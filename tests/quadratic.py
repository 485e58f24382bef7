"""A quadratic problem for every client, and what a client did in a round.

Client k minimises 1/2 sum ||W0 + s (T + B A - O) - M_k||_F^2 + 1/2 ||h - h_k||^2.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.methods.client import Upload
from tests.builders import SHAPES

SCALING = 2.0
HEAD = "classifier.weight"
HEAD_SHAPE = (3, 5)
Dense = dict[str, Tensor]


@dataclass(frozen=True)
class Taken:
    """What one client did in a round, as oracles need it."""

    node: int
    rank: int
    examples: int
    start: AdapterState
    trained: AdapterState
    upload: Upload
    base: Dense
    offset: Dense

    @property
    def sent(self) -> AdapterState:
        """The trained model as far as it was sent: slots not sent are as before."""
        if not self.upload.slots:
            held = self.trained.named_tensors()
            return AdapterState.from_named_tensors({**held, **self.upload.tensors})
        pairs = {}
        for module, mask in self.upload.slots.items():
            (B, A), (B_0, A_0) = (x.factors[module] for x in (self.trained, self.start))
            kept = mask.unsqueeze(1)
            pairs[module] = torch.where(mask, B, B_0), torch.where(kept, A, A_0)
        return AdapterState(LoraFactors(pairs), self.trained.head)

    def product(self) -> Dense:
        """B_k A_k of every layer."""
        return dense(self.sent.factors)

    def model(self) -> Dense:
        """T + B A - O of every layer: (W - W0) / s of this client."""
        return self._over_base(self.product())

    def before(self) -> Dense:
        """The same before it trained."""
        return self._over_base(dense(self.start.factors))

    def _over_base(self, product: Dense) -> Dense:
        return {
            m: BA + self.base.get(m, 0.0) - self.offset.get(m, 0.0)
            for m, BA in product.items()
        }


def dense(factors: LoraFactors) -> Dense:
    """Multiply out in float64."""
    return {m: B.double() @ A.double() for m, (B, A) in factors.items()}


@dataclass
class Problem:
    """W0, and for every client its rank, examples, target weights and target head."""

    ranks: tuple[int, ...]
    examples: tuple[int, ...]
    shapes: dict[str, tuple[int, int]] = field(default_factory=lambda: dict(SHAPES))
    targets: list[Dense] = field(default_factory=list)
    heads: list[Tensor] = field(default_factory=list)
    steps: int = 3
    rate: float = 0.01

    def __post_init__(self) -> None:
        draw = torch.Generator().manual_seed(7)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=draw)

        self.W0 = {m: normal(*shape) for m, shape in self.shapes.items()}
        if not self.targets:
            self.targets = [
                {m: W + 0.5 * normal(*W.shape) for m, W in self.W0.items()}
                for _ in self.ranks
            ]
        if not self.heads:
            self.heads = [normal(*HEAD_SHAPE) for _ in self.ranks]

    def pooled(self) -> tuple[Dense, Tensor]:
        """Target of all clients together: the mean, as the loss is quadratic."""
        weights = torch.tensor(self.examples, dtype=torch.float64) / sum(self.examples)
        pairs = list(zip(weights, self.targets, strict=True))
        targets = {m: sum(w * t[m].double() for w, t in pairs) for m in self.W0}
        head = sum(w * h.double() for w, h in zip(weights, self.heads, strict=True))
        return {m: t.float() for m, t in targets.items()}, head.float()

    def loss(
        self, state: AdapterState, fixed: Dense, target: Dense, head: Tensor
    ) -> Tensor:
        """1/2 ||W - M||^2 over the layers and the head; ``fixed`` is W0 + s (T - O)."""
        total = 0.5 * ((state.head[HEAD] - head) ** 2).sum()
        for module, M in target.items():
            if module in state.factors.pairs:
                B, A = state.factors[module]
                W = fixed[module] + SCALING * (B @ A)
            else:  # the whole model is trained
                W = state.head.get(module, fixed[module])
            total = total + 0.5 * ((W - M) ** 2).sum()
        return total


def weights(taken: list[Taken]) -> list[float]:
    return [t.examples / sum(u.examples for u in taken) for t in taken]
