"""Whether the hub, or its cache on this machine, has a name; asked in two seconds."""

import os
import re
from pathlib import Path
from typing import Literal

Kind = Literal["dataset", "model"]


def lacks(kind: Kind, name: str) -> str:
    """Say why a name cannot be had; empty where it may be.

    Where the hub is slow to answer nothing is said, as the run asks it again, and
    where there is no way to it its cache has to have the name.
    """
    from httpx import ConnectError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        HfApi().repo_info(name, repo_type=kind, timeout=2)
    except GatedRepoError:
        return ""
    except RepositoryNotFoundError:
        return f"the hub has no such {kind} that you may see"
    except (ConnectError, OfflineModeIsEnabled):
        if _cached(kind, name):
            return ""
        return (
            "the hub, which may have it, cannot be reached, and its cache on this "
            f"machine has no such {kind}"
        )
    except Exception:  # slow, or whatever a proxy answers
        return ""
    return ""


def _cached(kind: Kind, name: str) -> bool:
    """Whether the hub's cache, or that of prepared sets, has something by a name."""
    from huggingface_hub import constants

    fetched = Path(constants.HF_HUB_CACHE) / f"{kind}s--{name.replace('/', '--')}"
    if kind == "model":
        return fetched.is_dir()
    default = Path(constants.HF_HOME) / "datasets"
    prepared = Path(os.environ.get("HF_DATASETS_CACHE") or default).expanduser()
    kept = [entry.name for entry in prepared.glob("*")]  # as in: nyu-mll___glue
    return fetched.is_dir() or _letters(name) in map(_letters, kept)


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name).casefold()
