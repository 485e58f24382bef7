"""Replies of a round on the disk, mapped into memory, where they are too many for it.

What is mapped is read when it is used, and the system takes its memory back when it is
wanted for something else. Nothing is written back, and no file outlives the round.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from logging import WARNING
from pathlib import Path

import torch
from flwr.app import Message
from flwr.supercore import log
from torch import Tensor

from ilora_app import wire
from ilora_app.lora.factors import AdapterState
from ilora_app.methods.state import Update

HELD = 256_000_000
"""Bytes of the replies of a round that stay in memory, as they came and as read."""

_ALIGNED = 64


class Spool:
    """Takes replies out of memory, first as they come, and again when they are read.

    Args:
        folder: of the run.

    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._came, self._read, self._is_full = 0, 0, False

    def begin(self) -> None:
        """Begin a round."""
        self._came, self._read, self._is_full = 0, 0, False

    def message(self, reply: Message) -> None:
        """Take the arrays of a reply out of memory."""
        if not reply.has_content():
            return
        self._came += wire.content_bytes(reply.content)
        if self._came <= HELD:
            return
        records = reply.content.array_records.values()
        arrays = [one for record in records for one in record.values() if one.data]
        parts = [torch.frombuffer(bytearray(a.data), dtype=torch.uint8) for a in arrays]
        for array, part in zip(arrays, self._mapped(parts), strict=True):
            array.data = part.numpy().data  # type: ignore[assignment]

    def update(self, update: Update) -> Update:
        """Take what a client has brought out of memory."""
        shared = {id(t) for t in update.received.adapter.named_tensors().values()}
        adapter = update.adapter.named_tensors()
        own = {name: t for name, t in adapter.items() if id(t) not in shared}
        found = own, update.correction, update.extra
        self._read += sum(t.nbytes for tensors in found for t in tensors.values())
        if self._read <= HELD:
            return update
        fresh, correction, extra = (self._tensors(tensors) for tensors in found)
        return replace(
            update,
            adapter=AdapterState.from_named_tensors({**adapter, **fresh}),
            correction=correction,
            extra=extra,
        )

    def _tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        full = {name: t.contiguous() for name, t in tensors.items() if t.numel()}
        parts = [t.view(-1).view(torch.uint8) for t in full.values()]
        mapped = {
            name: part.view(t.dtype).view(t.shape)
            for (name, t), part in zip(full.items(), self._mapped(parts), strict=True)
        }
        return {**tensors, **mapped}

    def _mapped(self, parts: Sequence[Tensor]) -> Sequence[Tensor]:
        """The same bytes from a file that has no name any more."""
        places, size = list[slice](), 0
        for part in parts:
            start = size + -size % _ALIGNED
            size = start + part.numel()
            places.append(slice(start, size))
        if not size or self._is_full:
            return parts
        try:
            with tempfile.NamedTemporaryFile(dir=self._folder, prefix=".") as file:
                for part, place in zip(parts, places, strict=True):
                    file.seek(place.start)
                    file.write(part.numpy().data)
                file.flush()
                whole = torch.from_file(file.name, size=size, dtype=torch.uint8)
        except (OSError, RuntimeError) as error:
            self._is_full = True
            log(WARNING, "further replies of this round stay in memory: %s", error)
            return parts
        return [whole[place] for place in places]
