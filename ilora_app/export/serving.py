"""The commands that serve an exported folder, for a terminal and for its card."""

import shlex

from ilora_app.export.targets import TARGETS, limit_of


def commands(
    target: str, folder: str, base: str, merged: bool, rank: int
) -> tuple[str, ...]:
    """Write what starts a server with the folder.

    Args:
        target: a name of ``TARGETS``; empty: none.
        folder: exported.
        base: name of the base model.
        merged: the folder holds the whole model.
        rank: of the adapter.

    """
    place, name = shlex.quote(folder), shlex.quote(base)
    if target == "vllm":
        return (_vllm(place, name, merged, rank),)
    if target == "tgi":
        if merged:
            return (f"text-generation-launcher --model-id {place}",)
        lora = f"--lora-adapters {shlex.quote('ilora=' + folder)}"
        return (f"text-generation-launcher --model-id {name} {lora}",)
    if target == "llama.cpp":
        if merged:
            return (
                f"python convert_hf_to_gguf.py {place} --outfile model.gguf",
                "llama-server -m model.gguf",
            )
        return (
            f"python convert_lora_to_gguf.py {place} --base {name} "
            "--outfile adapter.gguf",
            f"python convert_hf_to_gguf.py {name} --outfile base.gguf",
            "llama-server -m base.gguf --lora adapter.gguf",
        )
    return ()


def _vllm(place: str, base: str, merged: bool, rank: int) -> str:
    if merged:
        return f"vllm serve {place}"
    limit = limit_of(TARGETS["vllm"], rank)
    usual = TARGETS["vllm"].usual
    most = f" --max-lora-rank {limit}" if limit > usual else ""
    return f"vllm serve {base} --enable-lora{most} --lora-modules ilora={place}"
