"""LoRA-A2 (arXiv 2410.22815): factors take turns; clients send their top rank slots."""

import torch
from torch import Tensor

from ilora_app.lora.factors import AdapterState, LoraFactors, mean_head, only
from ilora_app.methods.client import ClientHalf, Upload
from ilora_app.methods.method import Method
from ilora_app.methods.rolora import turn
from ilora_app.methods.state import (
    Aggregate,
    GlobalState,
    Plan,
    Share,
    UncheckedUpload,
    Update,
    UploadError,
    weights_of,
)
from ilora_app.settings.limits import COORDINATES


class LoRAA2Client(ClientHalf):
    """Trains one factor at r_max, and returns the slots that have changed most."""

    returns_all = False

    def finish(self, start: AdapterState, trained: AdapterState, rank: int) -> Upload:
        """Choose the top slots under a budget of r_k slots a layer, over all layers.

        Slot j of a layer scores ||dB[:, j] A[j, :]||_F where B trained, and
        ||B[:, j] dA[j, :]||_F where A did.
        """
        before, after = start.factors, trained.factors
        scores = {}
        for module, (B, A) in after.items():
            dB, dA = B - before[module][0], A - before[module][1]
            by_B = torch.linalg.vector_norm(dB, dim=0) * torch.linalg.vector_norm(
                A, dim=1
            )
            by_A = torch.linalg.vector_norm(B, dim=0) * torch.linalg.vector_norm(
                dA, dim=1
            )
            scores[module] = torch.maximum(by_B, by_A)
        slots = top_slots(scores, rank * len(scores))
        tensors = only(trained.named_tensors(), ("head",))
        for module, (B, A) in after.items():
            tensors[f"{module}.lora_B"] = B[:, slots[module]]
            tensors[f"{module}.lora_A"] = A[slots[module]]
        return Upload(tensors, rank, slots=slots)


class LoRAA2(Method):
    r"""B <- B + sum_k p_k mask_k(dB_k) with A shared and frozen, then A likewise.

    Every client holds the factors at r_max; r_k is its budget of slots a layer, spent
    where they matter. Slots that a client does not send count as unchanged, so B A is
    the exact mean of the clients' products as they send them. Training all slots and
    choosing afterwards, with weights p_k over all clients that replied, is our choice.
    """

    client_half = LoRAA2Client
    robust_refusals = dict.fromkeys(
        COORDINATES,
        "clients of lora-a2 send slots of their own choice, so that most numbers come "
        "from few of them",
    )
    rounding_refusal = (
        "clients of lora-a2 send whole slots, other ones in every round, and the loss "
        "by rounding these is as large as what a round changes in them"
    )

    def plan(self, state: GlobalState) -> Plan:
        """Train and return one factor and the head; clients keep both factors."""
        trained = (turn(state), "head")
        return Plan(trains=trained, up=trained, kept=("lora_B", "lora_A"))

    def share(self, state: GlobalState, rank: int) -> Share:
        """Everything, whatever the rank."""
        return Share(state.adapter)

    def trained_rank(self, state: GlobalState, rank: int) -> int:
        """r_max."""
        return state.adapter.factors.rank

    def restore(
        self, sent: Share, plan: Plan, rank: int, upload: UncheckedUpload
    ) -> AdapterState:
        """Check masks and slots, and put the slots into what was sent.

        Raises:
            UploadError: a mask that is none, more slots than the budget, or tensors
                that are not of these slots.

        """
        received, factors = sent.adapter.named_tensors(), sent.adapter.factors
        masks = upload.slots({m: torch.zeros(factors.rank) for m in factors.pairs})
        if any(bool(((mask != 0) & (mask != 1)).any()) for mask in masks.values()):
            raise UploadError("slots: a mask holds other numbers than 0, 1")
        used = sum(int(mask.sum()) for mask in masks.values())
        budget = rank * len(masks)
        if used > budget:
            raise UploadError(f"slots: {used} slots, expected up to {budget}")
        slots = {module: mask.bool() for module, mask in masks.items()}
        expected = {
            name: _of_slots(value, slots.get(name.rsplit(".", 1)[0]), name)
            for name, value in only(received, plan.up).items()
        }
        trained = upload.tensors(expected)
        whole = dict(received)
        for name, value in trained.items():
            if name.endswith(".lora_B"):
                whole[name] = received[name].clone()
                whole[name][:, slots[name.removesuffix(".lora_B")]] = value
            elif name.endswith(".lora_A"):
                whole[name] = received[name].clone()
                whole[name][slots[name.removesuffix(".lora_A")]] = value
            else:
                whole[name] = value
        return AdapterState.from_named_tensors(whole)

    def aggregate(self, state: GlobalState, updates: list[Update]) -> Aggregate:
        """Add the weighted changes of the factor whose turn it is; mean of the head."""
        weights = weights_of(updates)
        side = 0 if turn(state) == "lora_B" else 1
        pairs = {}
        for module, pair in state.adapter.factors.items():
            old = pair[side].double()
            change = torch.zeros_like(old)
            for update, weight in zip(updates, weights, strict=True):
                trained = update.adapter.factors[module][side]
                change += weight * (trained.double() - old)
            fresh = (old + change).float()
            pairs[module] = (fresh, pair[1]) if side == 0 else (pair[0], fresh)
        head = mean_head([u.adapter.head for u in updates], weights)
        return Aggregate(state.next(AdapterState(LoraFactors(pairs), head)))


def top_slots(scores: dict[str, Tensor], budget: int) -> dict[str, Tensor]:
    """Masks of the ``budget`` slots with the highest scores over all layers.

    Ties go to the earlier layer and slot.
    """
    flat = torch.cat(list(scores.values()))
    chosen = torch.zeros(len(flat), dtype=torch.bool)
    chosen[torch.argsort(flat, descending=True, stable=True)[:budget]] = True
    parts = torch.split(chosen, [len(score) for score in scores.values()])
    return dict(zip(scores, parts, strict=True))


def _of_slots(value: Tensor, mask: Tensor | None, name: str) -> Tensor:
    """Cut a factor to the slots of its mask; a tensor of the head goes whole."""
    if mask is None:
        return value
    return value[:, mask] if name.endswith(".lora_B") else value[mask]
