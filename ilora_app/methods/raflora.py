"""raFLoRA (arXiv 2602.13486): every segment of ranks averaged over who holds it."""

from ilora_app.lora.decomposition import truncate_mean
from ilora_app.lora.factors import AdapterState, LoraFactors, mean_head
from ilora_app.methods.flexlora import singular_vectors
from ilora_app.methods.method import Method
from ilora_app.methods.state import Aggregate, GlobalState, Update, weights_of


class RaFLoRA(Method):
    r"""D = sum_m sum_{k: r_k >= r^m} p_k^m B_k[:, S_m] A_k[S_m], then its SVD.

    r^1 < ... < r^M are the ranks of the clients that replied, S_m the directions after
    r^{m-1} up to r^m, and p_k^m = n_k / (sum of n_j over r_j >= r^m): what few clients
    hold is averaged over them alone, and not shrunk by those that cannot hold it. With
    equal ranks it is FlexLoRA. The SVD goes through the core of the stacked factors;
    client k receives its first r_k directions, B = U S and A = V^T.
    """

    setting_keys = frozenset({"control-basis"})
    server_step = ""

    def aggregate(self, state: GlobalState, updates: list[Update]) -> Aggregate:
        """Average by segments, decompose, cut to r_max; mean of the head."""
        parts: list[LoraFactors] = []
        by: list[float] = []
        start = 0
        for end in sorted({u.adapter.factors.rank for u in updates}):
            holders = [u for u in updates if u.adapter.factors.rank >= end]
            for update, weight in zip(holders, weights_of(holders), strict=True):
                parts.append(_segment(update.adapter.factors, start, end))
                by.append(weight)
            start = end
        rank = state.adapter.factors.rank
        cut, energy = truncate_mean(parts, by, rank, "svd")
        head = mean_head([u.adapter.head for u in updates], weights_of(updates))
        adapter = AdapterState(singular_vectors(cut), head)
        return Aggregate(state.next(adapter), energy)


def _segment(factors: LoraFactors, start: int, end: int) -> LoraFactors:
    """Directions after ``start`` up to ``end``."""
    pairs = {
        module: (B[:, start:end], A[start:end]) for module, (B, A) in factors.items()
    }
    return LoraFactors(pairs)
