"""``--node-config lora-rank="auto"``: the largest rank that a node's memory affords.

The rule, in bytes, with the model already in memory:

    free * (1 - RESERVE) >= activations + dense + trainable * PER_WEIGHT

    activations = batch * layers * tokens * (68 hidden + 10 heads tokens) * width / 4
                  + batch * tokens * vocabulary * 12
    dense       = 3 * 4 * sum of d_out d_in over the adapted layers
    trainable   = head + rank * sum of (d_out + d_in) over the adapted layers

- Activations are those of a transformer in training (arXiv 2205.05198: a layer's are
  34 s b h + 5 a s^2 b bytes in 16 bits, twice that in 32), of the batch that is in
  memory at once;
  with gradient checkpointing one layer's, and the input of each. That is an upper bound
  for a frozen base. A language model's logits are there three times: as computed, in
  float32, and as gradient.
- Three dense copies of the adapted layers: what is taken out or added to the base, the
  original it is taken out of, and room for the change of it.
- 36 bytes a trained weight in float32: weight, gradient and two moments of AdamW (16),
  received and returned copy (8), and c, c_k and the sum of gradients of control
  variates (12).
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ilora_app.settings import Settings
from ilora_app.settings.kinds import kind

_FRAMES = 50
"""A second, as models of recordings have them."""
RESERVE = 0.2
PER_WEIGHT = 36
AUTO = "auto"


@dataclass(frozen=True)
class Load:
    """What training asks of memory.

    Attributes:
        shapes: (d_out, d_in) of every adapted layer.
        head: weights trained beside the factors.
        layers, hidden, heads: of the transformer.
        tokens: of one example: of text, or patches of an image.
        batch: examples in memory at once.
        vocabulary: of a language model; 0 for others.
        width: bytes of a number in the model: 4, or 2.
        checkpointing: activations are computed again in the backward pass.

    """

    shapes: tuple[tuple[int, int], ...]
    head: int
    layers: int
    hidden: int
    heads: int
    tokens: int
    batch: int
    vocabulary: int = 0
    width: int = 4
    checkpointing: bool = False


def activations(load: Load) -> int:
    """Bytes of the activations of one step."""
    one = load.tokens * (68 * load.hidden + 10 * load.heads * load.tokens)
    whole = one * load.layers
    if load.checkpointing:
        whole = one + 4 * load.tokens * load.hidden * load.layers
    logits = 12 * load.tokens * load.vocabulary
    return load.batch * (whole * load.width // 4 + logits)


def needed(load: Load, rank: int) -> int:
    """Bytes that training at a rank needs beside the model."""
    dense = sum(d_out * d_in for d_out, d_in in load.shapes)
    factors = rank * sum(d_out + d_in for d_out, d_in in load.shapes)
    return activations(load) + 12 * dense + PER_WEIGHT * (load.head + factors)


def largest_rank(load: Load, free: int, largest: int) -> int:
    """Largest rank from 1 to ``largest`` that ``free`` bytes afford; 0 for none."""
    room = free * (1 - RESERVE) - needed(load, 0)
    step = needed(load, 1) - needed(load, 0)
    if room < step:
        return 0
    return min(largest, int(room // step)) if step else largest


def load_of(
    config: Any, shapes: Mapping[str, tuple[int, int]], head: int, settings: Settings
) -> Load:
    """Read off a model's config and the settings what training asks.

    Args:
        config: of the transformers model.
        shapes: of the adapted layers.
        head: weights of the head.
        settings: the run config.

    """
    widest = max((d_in for _, d_in in shapes.values()), default=1)
    layers = getattr(config, "num_hidden_layers", None)
    heads = getattr(config, "num_attention_heads", None)
    training = settings.training
    batch = -(-training.batch_size // training.gradient_accumulation)
    return Load(
        shapes=tuple(shapes.values()),
        head=head,
        layers=layers if isinstance(layers, int) else len(shapes),
        hidden=getattr(config, "hidden_size", None) or widest,
        # Swin has heads by stage; the most of them bound the others.
        heads=max(heads) if isinstance(heads, list | tuple) else heads or 1,
        tokens=_tokens(config, settings),
        batch=batch,
        vocabulary=config.vocab_size if kind(settings.model.task).writes else 0,
        width=4 if settings.model.dtype == "float32" else 2,
        checkpointing=settings.model.gradient_checkpointing,
    )


def _tokens(config: Any, settings: Settings) -> int:
    """Length of what the layers compute on: of a row, the longer of its two sides."""
    found = settings.data.max_length
    if kind(settings.model.task).file == "audio":
        heard = round(settings.data.max_seconds * _FRAMES)
        if hasattr(config, "frequency_stride"):  # AST: patches of a fixed length
            high = (config.num_mel_bins - config.patch_size) // config.frequency_stride
            long = (config.max_length - config.patch_size) // config.time_stride
            return int((high + 1) * (long + 1) + 2)
        return max(heard, getattr(config, "max_source_positions", None) or 0)
    seen = getattr(config, "vision_config", None) or config
    image = settings.model.image_size or getattr(seen, "image_size", None)
    patch = getattr(seen, "patch_size", None)
    if isinstance(image, int) and isinstance(patch, int):
        patches = (image // patch) ** 2 + 1
        found = patches if seen is config else max(found, patches)
    return found


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a GPU, or available to this process on the CPU."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found = [_available(), _left_in_group()]
    return min(value for value in found if value is not None)


def _available() -> int:
    for line in _read(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    # Not Linux: nothing says what is free, so it is half of what there is.
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _left_in_group(root: Path = Path("/")) -> int | None:
    """What the limits of a unit, container or pod leave; None without a limit."""
    mount = root / "sys/fs/cgroup"
    named = re.search(r"^0::/(.*)$", _read(root / "proc/self/cgroup"), re.MULTILINE)
    own = mount / (named[1] if named else "")
    # A group has no more than those above it, up to the root: in a container its own.
    groups = [g for g in (own, *own.parents) if g.is_relative_to(mount)]
    return min((left for g in groups if (left := _left(g)) is not None), default=None)


def _left(group: Path) -> int | None:
    """What one group's own limits leave; past memory.high it is slowed down."""
    said = [_read(group / name).strip() for name in ("memory.max", "memory.high")]
    limits = [int(limit) for limit in said if limit.isdecimal()]
    used = _read(group / "memory.current").strip()
    if not limits or not used.isdecimal():
        return None
    # Files that were read count as used, and give way as soon as memory is asked for.
    stat = _read(group / "memory.stat")
    cached = re.search(r"^inactive_file (\d+)$", stat, re.MULTILINE)
    held = max(int(used) - int(cached[1] if cached else 0), 0)
    return max(min(limits) - held, 0)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
