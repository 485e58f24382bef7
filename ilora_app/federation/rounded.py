"""What clients of a rank receive where numbers travel rounded, and what that makes it.

A share is rounded once for all clients of its rank, and the server goes on with what
they receive: what they start from is known to the last bit. Groups that clients keep
from round to round go as they are: the server counts on them long after.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from flwr.app import ArrayRecord
from torch import Tensor

from ilora_app import wire
from ilora_app.federation.messages import coefficients
from ilora_app.lora.factors import AdapterState, only
from ilora_app.methods import Method
from ilora_app.methods.state import GlobalState, Plan, Share


@dataclass(frozen=True)
class Sent:
    """A share as it is sent.

    Attributes:
        share: as clients receive it.
        parts: its tensors; None: as float32.

    """

    share: Share
    parts: Mapping[str, wire.Part] | None = None


class Rounded:
    """What is sent in one round.

    Args:
        method: cuts the shares.
        encoding: how numbers travel.
        plan: of the round.
        time: of the model, on which the chances of rounding depend.

    """

    def __init__(
        self,
        method: Method,
        encoding: wire.Encoding,
        plan: Plan | None = None,
        time: int = 0,
    ) -> None:
        self._method, self._encoding = method, encoding
        self._plan, self._time = plan or Plan(), time
        self._sent: dict[int, Sent] = {}

    def share(self, state: GlobalState, rank: int) -> Sent:
        """What clients of a rank are sent of the state of this round."""
        if rank not in self._sent:
            share = self._method.share(state, rank)
            exact = self._encoding.is_exact
            self._sent[rank] = Sent(share) if exact else self._round(share)
        return self._sent[rank]

    def control(self, tensors: Mapping[str, Tensor], rounds: bool) -> ArrayRecord:
        """Tensors of a drift correction, which says whether they may be rounded."""
        if not rounds:
            return wire.encode_tensors(tensors)
        return self._encoding.encode(tensors, "control", self._time)

    def _round(self, share: Share) -> Sent:
        plan, tensors = self._plan, share.adapter.named_tensors()
        groups, offset = set(plan.down) - set(plan.kept), coefficients(share)
        free = only(tensors, tuple(groups)) | offset
        coded = self._encoding.parts(free, "down", self._time)
        parts = {**wire.exact(tensors), **coded}
        found = wire.read(parts)
        held = {name.removeprefix(wire.OFFSET): found.pop(name) for name in offset}
        return Sent(
            Share(AdapterState.from_named_tensors(found), held, share.basis), parts
        )
