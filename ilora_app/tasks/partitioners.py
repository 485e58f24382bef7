"""The partitioners of flwr-datasets, without its plots until somebody draws one.

Importing one of them imports the plots, and they matplotlib and seaborn, which take
most of a second in every process of a run.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

_PLOTS, _PARTITIONERS = "flwr_datasets.visualization", "flwr_datasets.partitioner"


class Later(ModuleType):
    """Stands for a module, and imports it when something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def load() -> Any:
    """Import ``flwr_datasets.partitioner``."""
    if _PARTITIONERS not in sys.modules:
        sys.modules.setdefault(_PLOTS, Later(_PLOTS))
    return importlib.import_module(_PARTITIONERS)
