"""What servers take of a model, by their published rules, and what is made for each."""

from collections.abc import Sequence
from dataclasses import dataclass

from ilora_app.export.source import Source
from ilora_app.lora.factors import AdapterState, is_magnitude
from ilora_app.settings.kinds import IMAGE_TEXT, LANGUAGE, TASKS, TEXT

SUFFICIENT = 0.999
"""Part of the update's squared norm from which a smaller rank is said to do."""

_OF_TRANSFORMERS = tuple(task for task in TASKS if task != IMAGE_TEXT)
_PROJECTIONS = frozenset(f"{name}_proj" for name in ("q", "k", "v", "o"))
_PROJECTIONS |= {"gate_proj", "up_proj", "down_proj"}


@dataclass(frozen=True)
class Target:
    """A server, and the rules that its own loader of adapters has.

    Attributes:
        title: its name for people.
        adapters: tasks of which it takes adapters.
        merged: tasks of which it takes whole models.
        limits: ranks that it can be set to, rising; empty: it takes any.
        usual: limit that it has without being set.
        padded: the rank is to be one of the limits.
        modules: ends of the names of layers that it takes factors for; empty: any.
        heads: it takes modules that were trained whole.
        transposed: it takes layers that hold their weights transposed.
        tied: it takes factors for an output layer that is the embeddings.
        some_layers: it takes factors for some layers alone.
        dora: it takes magnitudes.
        rules: where they are published.

    """

    title: str
    adapters: tuple[str, ...]
    merged: tuple[str, ...]
    rules: str
    limits: tuple[int, ...] = ()
    usual: int = 0
    padded: bool = False
    modules: frozenset[str] = frozenset()
    heads: bool = False
    transposed: bool = False
    tied: bool = True
    some_layers: bool = True
    dora: bool = False


TARGETS = {
    "vllm": Target(
        title="vLLM",
        adapters=(LANGUAGE,),
        merged=(LANGUAGE, TEXT),
        rules="vllm/lora/peft_helper.py, vllm/config/lora.py",
        limits=(8, 16, 32, 64, 128, 256, 320, 512),
        usual=16,
    ),
    "llama.cpp": Target(
        title="llama.cpp",
        adapters=(LANGUAGE,),
        merged=(LANGUAGE,),
        rules="convert_lora_to_gguf.py",
        tied=False,
    ),
    "tgi": Target(
        title="TGI",
        adapters=(LANGUAGE,),
        merged=(LANGUAGE,),
        rules="server/text_generation_server/adapters/lora.py, utils/adapter.py",
        # It would pad to these itself, and scale by the padded rank from then on.
        limits=(8, 16, 32, 48, 64, 80, 96, 112, 128),
        usual=8,
        padded=True,
        modules=_PROJECTIONS,
        some_layers=False,
    ),
    "transformers": Target(
        title="transformers",
        adapters=_OF_TRANSFORMERS,
        merged=_OF_TRANSFORMERS,
        rules="PEFT's own format",
        heads=True,
        transposed=True,
        dora=True,
    ),
}


def refusals(
    target: Target, source: Source, adapter: AdapterState | None, transposed: bool
) -> list[str]:
    """Say what of a model the target does not take, each with the way out.

    Args:
        target: of the export.
        source: the run.
        adapter: to be exported; None: the whole model.
        transposed: its layers hold their weights transposed.

    """
    task, title = source.settings.model.task, target.title
    if task == IMAGE_TEXT:
        return [
            f"{title} has no class for {task}, which this app brings along: expected "
            "no --for, and ilora predict or ilora serve on what is exported"
        ]
    if task not in target.merged:
        return [f"{title} serves no {task}: expected --for transformers"]
    if adapter is None:
        return []
    if task not in target.adapters:
        only = ", ".join(target.adapters)
        return [f"{title} takes adapters of {only} alone, not of {task}"]
    found = []
    lengths = {name for name in adapter.head if is_magnitude(name)}
    if lengths and not target.dora:
        found.append(f"{title} takes no magnitudes of DoRA (use_dora)")
    if adapter.head.keys() - lengths and not target.heads:
        saved = sorted({n.rpartition(".")[0] for n in adapter.head.keys() - lengths})
        found.append(
            f"{title} takes factors alone (modules_to_save is none), and "
            f"{', '.join(saved)} was trained whole"
        )
    if transposed and not target.transposed:
        found.append(f"{title} takes no factors for layers that hold W transposed")
    ends = {module.rpartition(".")[2] for module in adapter.factors.pairs}
    beyond = sorted(ends - target.modules) if target.modules else []
    if beyond:
        known = ", ".join(sorted(target.modules))
        found.append(
            f"{title} has no factors for {', '.join(beyond)} (but for {known})"
        )
    if "lm_head" in ends and not target.tied:
        found.append(f"{title} leaves out an lm_head that is one with the embeddings")
    if source.settings.model.layers is not None and not target.some_layers:
        found.append(f"{title} takes factors for all layers or none")
    return found


def ranks(target: Target, energies: Sequence[float], asked: int) -> tuple[int, int]:
    """Rank to cut the update to, and rank to write it with, zeros in what is over.

    Without a rank that is asked for: all of the update where the target takes it
    without being set, else as much as the smallest limit allows that holds
    ``SUFFICIENT`` of it.

    Args:
        target: of the export.
        energies: by rank, see :func:`truncate.energies`.
        asked: rank; 0: none is.

    Raises:
        ValueError: the rank asked for is above that, or above what the target takes.

    """
    held = len(energies)
    if not target.limits:
        cut = asked or held
        return cut, cut
    most = target.limits[-1]
    if asked > min(most, held):
        right = f"{most} at most, as {target.title} has"
        right = right if most < held else f"1 to {held}, the rank of the global update"
        raise ValueError(f"rank {asked}: expected {right}")
    cut = asked or min(held, target.usual)
    if not asked and held > target.usual:
        above = [limit for limit in target.limits if limit >= target.usual]
        enough = [n for n in above if energies[min(n, held) - 1] >= SUFFICIENT]
        cut = min(held, min(enough, default=most))
    return cut, limit_of(target, cut) if target.padded else cut


def limit_of(target: Target, rank: int) -> int:
    """The smallest limit of the target that takes a rank."""
    return min(limit for limit in target.limits if limit >= rank)


def sufficient(target: Target, energies: Sequence[float]) -> int:
    """The smallest rank it takes that holds ``SUFFICIENT`` of the update; 0: none."""
    least = next(
        (rank for rank, part in enumerate(energies, 1) if part >= SUFFICIENT),
        len(energies),
    )
    if target.limits and least > target.limits[-1]:
        return 0
    return limit_of(target, least) if target.padded else least
