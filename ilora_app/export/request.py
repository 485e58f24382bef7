"""Makes a folder that plain transformers or PEFT load from a run."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from ilora_app.export import adapter, base, card, manifest, whole
from ilora_app.export.facts import Facts
from ilora_app.export.measure import measured
from ilora_app.export.merged import write_merged
from ilora_app.export.places import LAST, ReleaseError, find_run
from ilora_app.export.source import open_run
from ilora_app.runs import store


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
        target: a name of ``TARGETS``; empty: PEFT and transformers, all of it.
        base_name: what others call the base model; empty: found.

    """

    run: str
    out: Path
    rank: int = 0
    merge: bool = False
    which: str = LAST
    measure: bool = False
    target: str = ""
    base_name: str = ""


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
    if request.merge:
        adapter.check(source, None, request.target)
    model = source.settings.model.model
    name = base.public(model, request.base_name)
    with store.replacing(out) as folder:
        if source.whole:
            shutil.copytree(source.model, folder, dirs_exist_ok=True)
            made = card.Summary(merged=True, round=source.round)
        elif request.merge:
            weights = adapter.weights(source)
            write_merged(source, folder)
            found = measured(source, weights) if request.measure else ()
            made = card.Summary(merged=True, round=source.round, measured=found)
        else:
            asked = request.rank, request.target, name, request.measure
            made = adapter.write(source, folder, *asked)
        made = replace(
            made,
            target=request.target,
            base=name,
            place=request.base_name or model,
        )
        sha256 = "" if made.merged else base.digest(model)
        facts = Facts.of(source, made.merged)
        replace(facts, base=name, base_sha256=sha256).write(folder)
        card.write(folder, source, made)
        manifest.write(folder)
    return made


def _refuse_links(folder: Path) -> None:
    """Refuse a folder with links: an export would carry whatever they lead to."""
    inside = [folder, *folder.rglob("*")]
    links = sorted(path for path in inside if path.is_symlink())
    if links:
        named = ", ".join(str(path) for path in links[:3])
        raise ReleaseError(f"{named}: a link, expected files alone in what is exported")
