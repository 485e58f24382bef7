"""The methods by name, and methods that lie outside this package."""

import importlib
import re
from collections.abc import Mapping

from ilora_app.methods.centralized import Centralized
from ilora_app.methods.fedavg_full import FedAvgFull
from ilora_app.methods.fedex_lora import FedExLoRA
from ilora_app.methods.fedgalore import FedGaLore
from ilora_app.methods.fedit import FedIT
from ilora_app.methods.fedrot_lora import FedRotLoRA
from ilora_app.methods.fedsa_lora import FedSALoRA
from ilora_app.methods.ffa_lora import FFALoRA
from ilora_app.methods.flexlora import FlexLoRA
from ilora_app.methods.flora import FLoRA
from ilora_app.methods.hetlora import HetLoRA
from ilora_app.methods.ilora import ILoRA
from ilora_app.methods.linear_probe import LinearProbe
from ilora_app.methods.local import Local
from ilora_app.methods.lora_a2 import LoRAA2
from ilora_app.methods.lora_fair import LoRAFAIR
from ilora_app.methods.method import Method
from ilora_app.methods.raflora import RaFLoRA
from ilora_app.methods.rolora import RoLoRA
from ilora_app.settings import MethodSettings, Settings, parsing, strategies

METHODS: dict[str, type[Method]] = {
    "ilora": ILoRA,
    "fedit": FedIT,
    "flora": FLoRA,
    "ffa-lora": FFALoRA,
    "lora-fair": LoRAFAIR,
    "hetlora": HetLoRA,
    "flexlora": FlexLoRA,
    "fedex-lora": FedExLoRA,
    "rolora": RoLoRA,
    "fedsa-lora": FedSALoRA,
    "lora-a2": LoRAA2,
    "raflora": RaFLoRA,
    "fedrot-lora": FedRotLoRA,
    "fedgalore": FedGaLore,
    "linear-probe": LinearProbe,
    "centralized": Centralized,
    "local": Local,
    "fedavg-full": FedAvgFull,
}

BOUNDS = ("linear-probe", "centralized", "local", "fedavg-full")
"""Names that are no methods of federated LoRA, but what to hold them against."""

_LONGEST = 200
_PLUG_IN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


class MethodError(ValueError):
    """There is no such method; says which value would be right."""


def find(name: str) -> type[Method]:
    """Find a method by its name, or by ``package.module:Class`` outside this package.

    Raises:
        MethodError: there is none; the message says what would be right.

    """
    if name in METHODS:
        return METHODS[name]
    if not _PLUG_IN.fullmatch(name) or len(name) > _LONGEST:
        raise MethodError(strategies.right(name))
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise MethodError(f"a module that can be imported here: {error}") from error
    except AttributeError as error:
        raise MethodError(f"a class that {module} has: {error}") from error
    except Exception as error:  # the module is a stranger's, and may raise anything
        kind = type(error).__name__
        right = f"a module whose import succeeds: {kind}: {error}"
        raise MethodError(right) from error
    if not isinstance(found, type) or not issubclass(found, Method):
        raise MethodError(f"a subclass of {Method.__module__}.Method")
    if not issubclass(found.settings, MethodSettings):
        raise MethodError(f"{attribute}.settings to be a subclass of MethodSettings")
    return found


def parse(run_config: Mapping[str, object]) -> tuple[Settings, dict[str, str]]:
    """Read a run config, with the keys that its method declares.

    Returns:
        As :func:`ilora_app.settings.parsing.parse`, an unknown method included.

    """
    name, method, unknown = run_config.get("strategy"), MethodSettings, ""
    name = Settings().run.strategy if name is None else name
    if isinstance(name, str):
        try:
            method = find(name).settings
        except MethodError as error:
            unknown = parsing.describe("strategy", name, str(error))
    settings, problems = parsing.parse(run_config, method)
    if unknown:
        problems["strategy"] = unknown
    return settings, problems


def load(run_config: Mapping[str, object]) -> Settings:
    """Read a run config that must be right.

    Raises:
        ConfigError: with every mistake in it.

    """
    settings, problems = parse(run_config)
    if problems:
        raise parsing.ConfigError(list(problems.values()))
    return settings
