"""The LoRA factors of a whole model, and all that a client trains."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Pair = tuple[Tensor, Tensor]
"""(B, A) of one adapted layer: shapes (d_out, r) and (r, d_in)."""

_B, _A, _HEAD = ".lora_B", ".lora_A", "head."

MAGNITUDE = ".lora_magnitude_vector"
"""End of the name of a layer's magnitudes under DoRA, which travel with the head."""

GROUPS = ("lora_B", "lora_A", "head")
"""What a client trains, in three groups that methods freeze, send or keep apart."""


@dataclass(frozen=True)
class LoraFactors:
    """Factors of every adapted layer: module name -> (B, A), one rank throughout."""

    pairs: Mapping[str, Pair]

    @property
    def rank(self) -> int:
        """The rank r that all layers share; 0 where no layer is adapted."""
        return next((int(A.shape[0]) for _, A in self.pairs.values()), 0)

    def items(self) -> Iterator[tuple[str, Pair]]:
        """Module names with their (B, A), in the order given at construction."""
        return iter(self.pairs.items())

    def __getitem__(self, module: str) -> Pair:
        return self.pairs[module]

    def cut(self, rank: int) -> "LoraFactors":
        """Keep the first ``rank`` columns of B and rows of A.

        Raises:
            ValueError: ``rank`` is above the rank held.

        """
        if self.pairs and rank > self.rank:
            raise ValueError(f"cannot cut factors of rank {self.rank} to {rank}")
        return LoraFactors({m: (B[:, :rank], A[:rank]) for m, (B, A) in self.items()})

    def pad(self, rank: int) -> "LoraFactors":
        """Append zero columns to B and zero rows to A up to ``rank``.

        Raises:
            ValueError: ``rank`` is below the rank held.

        """
        extra = rank - self.rank
        if self.pairs and extra < 0:
            raise ValueError(f"cannot pad factors of rank {self.rank} to {rank}")
        pad = torch.nn.functional.pad
        return LoraFactors(
            {
                m: (pad(B, (0, extra)), pad(A, (0, 0, 0, extra)))
                for m, (B, A) in self.items()
            }
        )

    def to(self, dtype: torch.dtype) -> "LoraFactors":
        """Convert every factor to ``dtype``."""
        return LoraFactors(
            {m: (B.to(dtype), A.to(dtype)) for m, (B, A) in self.items()}
        )

    def contiguous(self) -> "LoraFactors":
        """Lay out every factor row by row."""
        return LoraFactors(
            {m: (B.contiguous(), A.contiguous()) for m, (B, A) in self.items()}
        )


def stack(parts: Sequence[LoraFactors], weights: Sequence[float]) -> LoraFactors:
    """Concatenate factors so that the product is the weighted sum of products.

    B_c = [B_1 ... B_K], A_c = [p_1 A_1; ...; p_K A_K], hence B_c A_c = sum p_k B_k A_k
    exactly, for any ranks (arXiv 2511.16069, concatenated aggregation). The rank of
    the result is rho, the sum of the ranks.

    Raises:
        ValueError: the parts do not adapt the same modules.

    """
    modules = list(parts[0].pairs)
    if any(set(part.pairs) != set(modules) for part in parts):
        raise ValueError("stacked factors must adapt the same modules")
    return LoraFactors(
        {
            m: (
                torch.cat([part[m][0] for part in parts], dim=1),
                torch.cat(
                    [w * part[m][1] for part, w in zip(parts, weights, strict=True)]
                ),
            )
            for m in modules
        }
    )


@dataclass(frozen=True)
class AdapterState:
    """All that a client trains: LoRA factors and the head.

    The head holds the parameters of the modules that PEFT saves whole (classifier,
    pooler, score), by name, and the magnitudes of DoRA, shape (d_out,). Gradients and
    control variates have the same shape and are kept in the same class.
    """

    factors: LoraFactors
    head: Mapping[str, Tensor]

    def cut(self, rank: int) -> "AdapterState":
        """Cut the factors to ``rank``; the head goes whole."""
        return AdapterState(self.factors.cut(rank), self.head)

    def pad(self, rank: int) -> "AdapterState":
        """Pad the factors with zeros to ``rank``; the head goes whole."""
        return AdapterState(self.factors.pad(rank), self.head)

    def contiguous(self) -> "AdapterState":
        """Lay out every tensor row by row."""
        head = {name: value.contiguous() for name, value in self.head.items()}
        return AdapterState(self.factors.contiguous(), head)

    def named_tensors(self) -> dict[str, Tensor]:
        """Flatten to ``<module>.lora_B``, ``<module>.lora_A`` and ``head.<name>``."""
        flat: dict[str, Tensor] = {}
        for module, (B, A) in self.factors.items():
            flat[module + _B] = B
            flat[module + _A] = A
        flat.update({_HEAD + name: value for name, value in self.head.items()})
        return flat

    @classmethod
    def from_named_tensors(cls, flat: Mapping[str, Tensor]) -> "AdapterState":
        """Rebuild from :meth:`named_tensors`.

        Raises:
            KeyError: a module has one factor but not the other.

        """
        modules = [key.removesuffix(_B) for key in flat if key.endswith(_B)]
        pairs = {m: (flat[m + _B], flat[m + _A]) for m in modules}
        head = {
            key.removeprefix(_HEAD): value
            for key, value in flat.items()
            if key.startswith(_HEAD)
        }
        return cls(LoraFactors(pairs), head)


def group_of(name: str) -> str:
    """Group of a key of :meth:`AdapterState.named_tensors`, one of ``GROUPS``."""
    return "head" if name.startswith(_HEAD) else name.rsplit(".", 1)[-1]


def is_magnitude(name: str) -> bool:
    """Whether a key of :meth:`AdapterState.named_tensors` is of DoRA's magnitudes."""
    return name.endswith(MAGNITUDE)


def only(flat: Mapping[str, Tensor], groups: Sequence[str]) -> dict[str, Tensor]:
    """Keep the tensors of some groups."""
    return {name: value for name, value in flat.items() if group_of(name) in groups}


def mean_factors(
    parts: Sequence[LoraFactors],
    weights: Sequence[float],
    dtype: torch.dtype | None = None,
) -> LoraFactors:
    """Mean of A and of B by themselves: sum_k w_k pad(A_k), sum_k w_k pad(B_k).

    Padded with zeros to the largest rank among them; summed in float64, in the order
    given, and returned in ``dtype``, or as the first.
    """
    rank = max(part.rank for part in parts)
    pairs = {}
    for m, (B_0, A_0) in parts[0].items():
        B = B_0.new_zeros(B_0.shape[0], rank, dtype=torch.float64)
        A = A_0.new_zeros(rank, A_0.shape[1], dtype=torch.float64)
        for part, weight in zip(parts, weights, strict=True):
            B_k, A_k = part[m]
            B[:, : B_k.shape[1]].add_(B_k, alpha=weight)
            A[: A_k.shape[0]].add_(A_k, alpha=weight)
        pairs[m] = (B.to(dtype or B_0.dtype), A.to(dtype or A_0.dtype))
    return LoraFactors(pairs)


def beside(old: LoraFactors, means: LoraFactors) -> LoraFactors:
    """Means at the rank of ``old``, whose A a direction keeps that nobody held.

    It would be zero in A and in B: then both gradients are zero, and it would never be
    trained again. With B = 0 alone it starts as LoRA does.
    """
    pairs = {}
    for m, (B, A) in means.pad(old.rank).items():
        lost = ~(B.any(dim=0) | A.any(dim=1))  # (r,)
        if bool(lost.any()):
            A = torch.where(lost.unsqueeze(1), old[m][1].to(A), A)
        pairs[m] = (B, A)
    return LoraFactors(pairs)


def mean_head(
    heads: Sequence[Mapping[str, Tensor]], weights: Sequence[float]
) -> dict[str, Tensor]:
    """Weighted mean of heads: sum_k p_k head_k in float64, in the order given."""
    found = {}
    for name, first in heads[0].items():
        mean = torch.zeros_like(first, dtype=torch.float64)
        for head, weight in zip(heads, weights, strict=True):
            mean.add_(head[name], alpha=weight)
        found[name] = mean.to(first.dtype)
    return found


def subtract(factors: LoraFactors, offset: Mapping[str, Pair]) -> LoraFactors:
    """B A - L R as one pair of factors ([B, -L], [A; R]), at the sum of the ranks.

    Args:
        factors: (B, A) by module.
        offset: (L, R) by module.

    """
    pairs = {}
    for module, (B, A) in factors.items():
        L, R = offset[module]
        pairs[module] = (torch.cat([B, -L], dim=1), torch.cat([A, R]))
    return LoraFactors(pairs)
