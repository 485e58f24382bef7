"""FlexLoRA (arXiv 2402.11505): SVD of the exact mean, cut to every client's rank."""

import torch

from ilora_app.lora.decomposition import complete_basis, truncate_mean
from ilora_app.lora.factors import AdapterState, LoraFactors, mean_head
from ilora_app.methods.method import Method
from ilora_app.methods.state import Aggregate, GlobalState, Update, weights_of


class FlexLoRA(Method):
    """D = sum_k p_k B_k A_k = U S V^T; B = U_r S_r, A = V_r^T, client k gets r_k of it.

    Exact up to the cut, which is the best of its rank. The SVD goes through the
    rho x rho core of the stacked factors. Directions that D does not have get B = 0 and
    orthonormal rows of A, so that they can still be trained.
    """

    uses = frozenset({"control-basis"})

    def aggregate(self, state: GlobalState, updates: list[Update]) -> Aggregate:
        """Stack, decompose, cut to r_max; mean of the head."""
        weights = weights_of(updates)
        rank = state.adapter.factors.rank
        parts = [update.adapter.factors for update in updates]
        cut, energy = truncate_mean(parts, weights, rank, "svd")
        pairs = {}
        for module, (U, SV) in cut.items():
            S = torch.linalg.vector_norm(SV, dim=1)  # (r,)
            there = S > 0
            rows = SV / torch.where(there, S, torch.ones_like(S)).unsqueeze(1)
            A = complete_basis(rows.T, there).T  # (r, d_in)
            pairs[module] = ((U * S).float(), A.float())
        head = mean_head([u.adapter.head for u in updates], weights)
        adapter = AdapterState(LoraFactors(pairs), head)
        return Aggregate(state.next(adapter), energy)
