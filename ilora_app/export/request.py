"""Makes a folder that plain transformers or PEFT load from a run."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError

from ilora_app.export import card, whole
from ilora_app.export.facts import Facts
from ilora_app.export.measure import measured
from ilora_app.export.merged import write_merged
from ilora_app.export.source import LAST, ReleaseError, Source, find_run, open_run
from ilora_app.export.truncate import truncated
from ilora_app.lora.factors import AdapterState
from ilora_app.runs import store
from ilora_app.runs.adapter import CONFIG, WEIGHTS, read_weights, write_weights


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        run: folder of a run, or its name.
        out: folder to make.
        rank: of the adapter; 0: all of the global update.
        merge: the whole model instead of an adapter.
        which: ``last`` round or ``best``.
        measure: evaluate what is exported on the test split.

    """

    run: str
    out: Path
    rank: int = 0
    merge: bool = False
    which: str = LAST
    measure: bool = False


def export(request: Request) -> card.Summary:
    """Make the folder, whole or not at all.

    Raises:
        ReleaseError: the request cannot be met, with what could be.
        ModelError: the base model, which merging needs, cannot be had.
        OSError: the place cannot be written.

    """
    out = request.out
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise ReleaseError(
            f"--out {out}: expected a new or empty folder: an export never writes over "
            "another"
        )
    if request.merge and request.rank:
        raise ReleaseError(
            "--rank and --merge: expected one of them; a merged model has the whole "
            "update in it and no rank"
        )
    source = open_run(find_run(request.run), request.which)
    if source.whole and not request.merge:
        raise ReleaseError(
            f"{source.run} trained every weight ({source.settings.run.strategy}), and "
            "there is no adapter: expected --merge"
        )
    if source.whole and request.measure:
        raise ReleaseError(
            "--measure: expected without it: the whole model is exported as the run "
            "measured it"
        )
    whole.check(source.model, source.settings.model.task, source.whole)
    _refuse_links(source.model)
    with store.replacing(out) as folder:
        if source.whole:
            shutil.copytree(source.model, folder, dirs_exist_ok=True)
            made = card.Summary(merged=True, round=source.round)
        elif request.merge:
            adapter = _weights(source)
            write_merged(source, folder)
            found = measured(source, adapter) if request.measure else ()
            made = card.Summary(merged=True, round=source.round, measured=found)
        else:
            made = _write_adapter(request, source, folder)
        Facts.of(source, made.merged).write(folder)
        card.write(folder, source, made)
    return made


def _refuse_links(folder: Path) -> None:
    """Refuse a folder with links: an export would carry whatever they lead to."""
    links = sorted(path for path in folder.rglob("*") if path.is_symlink())
    if links:
        named = ", ".join(str(path) for path in links[:3])
        raise ReleaseError(f"{named}: a link, expected files alone in what is exported")


def _write_adapter(request: Request, source: Source, folder: Path) -> card.Summary:
    """Copy tokenizer and configs, and write the weights at the rank asked for."""
    adapter = _weights(source)
    energy = 1.0
    if request.rank:
        try:
            adapter, energy = truncated(adapter, request.rank)
        except ValueError as error:
            raise ReleaseError(f"--{error}") from None
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise ReleaseError(f"--rank {request.rank}: {error}") from None
    own = {WEIGHTS, CONFIG, "README.md"}
    for path in source.model.iterdir():
        if path.name not in own and path.is_file():
            shutil.copy2(path, folder / path.name)
    write_weights(folder, adapter, source.settings, whole.transposed(source.model))
    found = measured(source, adapter) if request.measure else ()
    return card.Summary(False, source.round, adapter.factors.rank, energy, found)


def _weights(source: Source) -> AdapterState:
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
