"""Every run-config key: its type, default, range and help, as frozen dataclasses.

The key of a field is its name with dashes: ``init_gain`` is ``init-gain``.
"""

from dataclasses import dataclass, field

from ilora_app.settings.data import DataSettings
from ilora_app.settings.deadline import DeadlineSettings
from ilora_app.settings.head import HeadSettings
from ilora_app.settings.keeping import KeepingSettings
from ilora_app.settings.limits import LimitSettings
from ilora_app.settings.method import MethodSettings
from ilora_app.settings.model import ModelSettings
from ilora_app.settings.options import parse_ranks
from ilora_app.settings.privacy import PrivacySettings
from ilora_app.settings.run import RunSettings
from ilora_app.settings.training import TrainingSettings


@dataclass(frozen=True)
class Settings:
    """The whole run config, by group."""

    run: RunSettings = field(default_factory=RunSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    head: HeadSettings = field(default_factory=HeadSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    deadline: DeadlineSettings = field(default_factory=DeadlineSettings)
    method: MethodSettings = field(default_factory=MethodSettings)
    keeping: KeepingSettings = field(default_factory=KeepingSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    privacy: PrivacySettings = field(default_factory=PrivacySettings)

    @property
    def ranks(self) -> tuple[int, ...]:
        """``client-ranks`` as numbers."""
        return parse_ranks(self.run.client_ranks)

    @property
    def least_nodes(self) -> tuple[int, str]:
        """Nodes without which no round is begun, and the key that says so."""
        run, private = self.run, self.privacy
        if (
            private.secure_aggregation
            and private.secure_min_nodes > run.min_available_nodes
        ):
            return private.secure_min_nodes, "secure-min-nodes"
        return run.min_available_nodes, "min-available-nodes"


__all__ = [
    "DataSettings",
    "DeadlineSettings",
    "HeadSettings",
    "KeepingSettings",
    "LimitSettings",
    "MethodSettings",
    "ModelSettings",
    "PrivacySettings",
    "RunSettings",
    "Settings",
    "TrainingSettings",
]
