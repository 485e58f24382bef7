"""The LoRA factors of a whole model, and all that a client trains."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Pair = tuple[Tensor, Tensor]
"""(B, A) of one adapted layer: shapes (d_out, r) and (r, d_in)."""

_B, _A, _HEAD = ".lora_B", ".lora_A", "head."

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


def inner_products(parts: Sequence[LoraFactors]) -> Tensor:
    """Frobenius inner products of the products B_i A_i, summed over modules.

    M_ij = sum_modules <B_i A_i, B_j A_j> = sum((B_i^T B_j) * (A_i A_j^T)), from Gram
    matrices of the factors alone. Any combination sum c_i B_i A_i then has the squared
    norm c^T M c.

    Returns:
        M of shape (K, K) in float64.

    """
    count = len(parts)
    M = torch.zeros(count, count, dtype=torch.float64)
    for module in parts[0].pairs:
        pairs = [part[module] for part in parts]
        edges = [0, *torch.tensor([A.shape[0] for _, A in pairs]).cumsum(0).tolist()]
        B = torch.cat([B for B, _ in pairs], dim=1).double()  # (d_out, rho)
        A = torch.cat([A for _, A in pairs]).double()  # (rho, d_in)
        gram = (B.T @ B) * (A @ A.T)  # (rho, rho)
        for i in range(count):
            rows = gram[edges[i] : edges[i + 1]]
            for j in range(count):
                M[i, j] += rows[:, edges[j] : edges[j + 1]].sum().cpu()
    return M


@dataclass(frozen=True)
class AdapterState:
    """All that a client trains: LoRA factors and the head.

    The head holds the parameters of the modules that PEFT saves whole (classifier,
    pooler, score), by name. Gradients and control variates have the same shape and
    are kept in the same class.
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


def only(flat: Mapping[str, Tensor], groups: Sequence[str]) -> dict[str, Tensor]:
    """Keep the tensors of some groups."""
    return {name: value for name, value in flat.items() if group_of(name) in groups}


def mean_factors(parts: Sequence[LoraFactors], weights: Sequence[float]) -> LoraFactors:
    """Mean of A and of B by themselves: sum_k w_k pad(A_k), sum_k w_k pad(B_k).

    Padded with zeros to the largest rank among them; summed in float64.
    """
    rank = max(part.rank for part in parts)
    padded = [part.pad(rank) for part in parts]

    def mean(tensors: list[Tensor]) -> Tensor:
        terms = [w * t.double() for w, t in zip(weights, tensors, strict=True)]
        return torch.stack(terms).sum(dim=0).to(tensors[0].dtype)

    return LoraFactors(
        {
            m: (mean([p[m][0] for p in padded]), mean([p[m][1] for p in padded]))
            for m in parts[0].pairs
        }
    )


def mean_head(
    heads: Sequence[Mapping[str, Tensor]], weights: Sequence[float]
) -> dict[str, Tensor]:
    """Weighted mean of heads: sum_k p_k head_k, summed in the order given."""
    return {
        name: torch.stack(
            [w * head[name].double() for head, w in zip(heads, weights, strict=True)]
        )
        .sum(dim=0)
        .to(heads[0][name].dtype)
        for name in heads[0]
    }
