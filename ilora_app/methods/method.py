"""The mathematics of a method: hooks that take and return plain values."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor

from ilora_app.lora.factors import AdapterState, group_of
from ilora_app.methods.client import ClientHalf
from ilora_app.methods.server_step import ServerStep
from ilora_app.methods.state import (
    Aggregate,
    GlobalState,
    Plan,
    Share,
    Sums,
    UncheckedUpload,
    Update,
)
from ilora_app.settings import MethodSettings, Settings
from ilora_app.settings.head import AUTO, RIDGE


class Method(ABC):
    """What a method computes on the server, with no messages and no network.

    Attributes:
        client_half: what the method does on a client.
        settings: its run-config keys; a method outside this package declares its own
            in a subclass of :class:`~ilora_app.settings.MethodSettings`.
        setting_keys: those of the shared keys that are this method's own; it is
            refused the others.
        initialisations: what ``initialisation`` may be; ``auto`` is the first.
        control_scopes: ``control-scope`` values with which control variates make sense.
        control_refusal: the sentence that says why others do not.
        control_by_default: ``drift-correction = "auto"`` means control variates.
        projects: clients take steps in the coordinates of a projector that all share,
            and ``drift-correction = "auto"`` means their second moments.
        personal: clients end with models of their own, and there is no global one.
        whole_model: every weight is trained, and there are no factors.
        trains: False has the head solved by sums over clients, and nothing trained.
        drifts: False leaves nothing to correct, and ``control_refusal`` says why.
        robust_refusals: why values of ``robust`` make no sense, by value.
        rounding_refusal: why what it sends cannot travel rounded; empty where it can.
        dora_refusal: why magnitudes of W0 + s B A make no sense; empty where they do.
        head_by_default: what ``head = "auto"`` means for a classifier.
        server_step: what ``server-rate`` and ``server-momentum`` act on: the averaged
            ``factors`` and the head, the ``products``, which the method then sees to
            itself, or nothing where it is empty.
        step: the server's step.

    """

    client_half: ClassVar[type[ClientHalf]] = ClientHalf
    settings: ClassVar[type[MethodSettings]] = MethodSettings
    setting_keys: ClassVar[frozenset[str]] = frozenset()
    initialisations: ClassVar[tuple[str, ...]] = ("standard",)
    control_scopes: ClassVar[tuple[str, ...]] = ("all", "head", "factors")
    control_refusal: ClassVar[str] = ""
    control_by_default: ClassVar[bool] = False
    projects: ClassVar[bool] = False
    personal: ClassVar[bool] = False
    whole_model: ClassVar[bool] = False
    trains: ClassVar[bool] = True
    drifts: ClassVar[bool] = True
    robust_refusals: ClassVar[Mapping[str, str]] = {}
    rounding_refusal: ClassVar[str] = ""
    dora_refusal: ClassVar[str] = ""
    head_by_default: ClassVar[str] = RIDGE
    server_step: ClassVar[str] = "factors"
    step: ServerStep = ServerStep()

    @classmethod
    def is_sum(cls) -> bool:
        """Whether it aggregates sums over clients: one class has both hooks."""
        made = [
            next(kind for kind in cls.__mro__ if hook in vars(kind))
            for hook in ("aggregate", "sums")
        ]
        return made[0] is made[1] is not Method

    @classmethod
    def sums_directions(cls) -> bool:
        """Whether direction j of its sums is of clients with r_k >= j alone."""
        return cls.server_step != "products"

    @classmethod
    def turns_basis(cls) -> bool:
        """Whether factors have another basis in every round."""
        return "control-basis" in cls.setting_keys

    @classmethod
    def keeps_basis(cls) -> bool:
        """Whether what is kept in factor coordinates holds from round to round."""
        return "all" in cls.control_scopes and not cls.turns_basis()

    @classmethod
    def of(cls, settings: Settings) -> "Method":
        """Make the method that a run config asks for."""
        made, chosen = cls(**cls.options(settings)), settings.method
        made.step = ServerStep.of(chosen.server_rate, chosen.server_momentum)
        return made

    @classmethod
    def resolved(cls, settings: Settings) -> Settings:
        """Put what ``auto`` means of this method's own settings in its place."""
        model = settings.model
        if model.initialisation == AUTO:
            model = replace(model, initialisation=cls.initialisations[0])
        return replace(settings, model=model)

    @classmethod
    def options(cls, settings: Settings) -> dict[str, Any]:
        """Constructor arguments of this method, from the run config."""
        return {}

    @classmethod
    def problems(cls, settings: Settings) -> dict[str, str]:
        """What of the settings this method cannot have, by key, beside unused keys."""
        return {}

    def details(self) -> dict[str, object]:
        """Settings of this method, for the log."""
        return {}

    def check_start(self, initial: AdapterState) -> None:  # noqa: B027
        """Raise ValueError where the initial arrays are none that this starts from."""

    def begin(self, initial: AdapterState) -> GlobalState:
        """Make the global model before round 1 from the initial arrays."""
        return GlobalState(initial)

    def plan(self, state: GlobalState) -> Plan:
        """Say what goes down, trains, and comes up in the next round."""
        return Plan()

    def participants(
        self, state: GlobalState, ranks: Sequence[int]
    ) -> list[tuple[int, int]]:
        """Which of the connected clients may train, and at which rank.

        Args:
            state: the global model.
            ranks: r_k of the connected clients, in their fixed order.

        Returns:
            (index into ``ranks``, rank) of each.

        """
        return list(enumerate(ranks))

    def trained_rank(self, state: GlobalState, rank: int) -> int:
        """Rank of the factors that a client of ``rank`` trains."""
        return rank

    def share(self, state: GlobalState, rank: int) -> Share:
        """Cut what a client of ``rank`` trains from."""
        return Share(state.adapter.cut(rank))

    def restore(
        self, sent: Share, plan: Plan, rank: int, upload: UncheckedUpload
    ) -> AdapterState:
        """Check what a client returned, and make it whole.

        The counterpart of the client half's ``finish``: methods whose clients send
        less than they were sent override both.

        Args:
            sent: what the client trained from.
            plan: of the round.
            rank: r_k.
            upload: of the client.

        Raises:
            UploadError: it is not what was asked for.

        """
        received = sent.adapter.named_tensors()
        trained = upload.tensors(self.client_half.trained(received, plan.up))
        return AdapterState.from_named_tensors({**received, **trained})

    def extra(
        self, sent: Share, plan: Plan, rank: int, upload: UncheckedUpload
    ) -> dict[str, Tensor]:
        """Check what else a client returned, of the same arguments.

        Raises:
            UploadError: it is not what was asked for.

        """
        return {}

    def extrapolate(self, update: Update, by: Mapping[str, float]) -> AdapterState:
        """theta + c_l (theta_k - theta) for every layer l that ``by`` names.

        Args:
            update: theta_k, from the received theta.
            by: c_l by module, and of the head under ``head``.

        """
        start, end = update.received.adapter, update.adapter
        rank = end.factors.rank
        if rank and rank < start.factors.rank:
            start = start.cut(rank)
        before = start.named_tensors()
        found = {}
        for name, value in end.named_tensors().items():
            group = group_of(name)
            layer = group if group == "head" else name.rsplit(".", 1)[0]
            c, theta = by.get(layer, 1.0), before[name]
            found[name] = value if c == 1.0 else theta + c * (value - theta)
        return AdapterState.from_named_tensors(found)

    @abstractmethod
    def aggregate(self, state: GlobalState, updates: list[Update]) -> Aggregate:
        """Make the next global model from checked updates, in a fixed order."""

    def sums(self, state: GlobalState) -> Sums:
        """What it needs of a round of which the server may see sums alone.

        Overridden, with ``aggregate`` in the same class, where sums will do; that is
        then given one update, of all clients together.
        """
        raise NotImplementedError

    def noisy_sums(self, state: GlobalState) -> Sums:
        """What it needs where all that is summed gets noise."""
        return self.sums(state).noisy()

    def advance(self, state: GlobalState, updates: list[Update]) -> Aggregate:
        """Aggregate, and take the server's step along what comes of it."""
        made = self.aggregate(state, updates)
        if self.server_step != "factors":
            return made
        return self.step.along_factors(state, updates, made, self.plan(state).up)

    def model(self, state: GlobalState, rank: int | None = None) -> AdapterState:
        """What a client of ``rank`` would hold, as plain LoRA on W0; None: global."""
        own = state.adapter if rank is None else self.share(state, rank).adapter
        if state.ledger is None:
            return own
        return AdapterState(state.ledger.as_factors(own.factors), own.head)

    def evaluation_share(self, state: GlobalState, rank: int) -> Share:
        """What a client of ``rank`` evaluates, on top of T where there is a ledger."""
        if state.ledger is not None:
            return self.share(state, rank)
        return Share(self.model(state, rank))
