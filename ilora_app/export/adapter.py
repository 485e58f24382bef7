"""Writes the adapter of a run at a rank, such that its target takes it."""

import shutil
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError

from ilora_app.export import targets, whole
from ilora_app.export.card import Summary
from ilora_app.export.measure import measured
from ilora_app.export.places import ReleaseError
from ilora_app.export.source import Source
from ilora_app.export.truncate import energies, truncated, whole_alpha
from ilora_app.lora.factors import AdapterState
from ilora_app.runs.adapter import CONFIG, WEIGHTS, read_weights, write_weights

PLAIN = "transformers"


def weights(source: Source) -> AdapterState:
    """Read the adapter of a run.

    Raises:
        ReleaseError: it cannot be read, or holds NaN or infinity.

    """
    try:
        adapter = read_weights(source.model)
        for name, value in adapter.named_tensors().items():
            if not bool(value.isfinite().all()):
                raise ValueError(f"{name} holds NaN or infinity")
        return adapter
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ReleaseError(
            f"{source.model / WEIGHTS} cannot be read: {error}"
        ) from None


def check(source: Source, adapter: AdapterState | None, target: str) -> None:
    """Check that a target takes a model.

    Args:
        source: the run.
        adapter: to be exported; None: the whole model.
        target: a name of ``TARGETS``; empty: none.

    Raises:
        ReleaseError: it does not, with all reasons and the way out.

    """
    if not target:
        return
    transposed = adapter is not None and whole.transposed(source.model)
    wanted = targets.TARGETS[target]
    found = targets.refusals(wanted, source, adapter, transposed)
    if found:
        mended = adapter and source.settings.model.task in wanted.merged
        merge = " expected --merge, for the whole model" if mended else ""
        reasons = "; ".join(found) + (":" if merge else "")
        raise ReleaseError(f"--for {target}: {reasons}{merge} ({wanted.rules})")


def write(
    source: Source,
    folder: Path,
    rank: int = 0,
    target: str = "",
    base: str = "",
    measure: bool = False,
) -> Summary:
    """Copy tokenizer and configs, and write the weights.

    Args:
        source: of the run.
        folder: exists.
        rank: of the adapter; 0: what the target takes, else all of the update.
        target: a name of ``TARGETS``; empty: none.
        base: what others call the base model.
        measure: evaluate it on the test split.

    Raises:
        ReleaseError: the target does not take it, or it has no such rank.

    """
    adapter = weights(source)
    check(source, adapter, target)
    taker = targets.TARGETS[target or PLAIN]
    try:
        held = energies(adapter)
        cut, padded = targets.ranks(taker, held, rank)
        energy = 1.0
        if rank or cut < adapter.factors.rank:
            adapter, energy = truncated(adapter, cut)
    except ValueError as error:
        raise ReleaseError(f"--{error}") from None
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        raise ReleaseError(f"--rank {rank}: {error}") from None
    own = {WEIGHTS, CONFIG, "README.md"}
    for path in source.model.iterdir():
        if path.name not in own and path.is_file():
            shutil.copy2(path, folder / path.name)
    model = source.settings.model
    written, alpha = whole_alpha(adapter, model.lora_scaling)
    # Zeros change nothing but the rank, which alpha is divided by.
    scaling = alpha / written.factors.rank
    if padded > written.factors.rank:
        written = AdapterState(written.factors.pad(padded), written.head)
        written, alpha = whole_alpha(written, scaling)
        scaling = alpha / padded
    shown = replace(model, model=base or model.model, lora_scaling=scaling)
    settings = replace(source.settings, model=shown)
    write_weights(folder, written, settings, whole.transposed(source.model))
    return Summary(
        merged=False,
        round=source.round,
        rank=written.factors.rank,
        energy=energy,
        measured=measured(source, adapter) if measure else (),
        sufficient=targets.sufficient(taker, held),
        magnitudes=model.use_dora,
    )
