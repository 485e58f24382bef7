"""The libraries that tasks load, without what no user can act on."""

import logging
import os
import sys
import warnings


def quiet_libraries() -> None:
    """Silence progress bars, load reports, and warnings that no user can act on."""
    # PEFT imports bitsandbytes, whose import tells of a kernel that it does without.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    # That of datasets takes a second, and not every command reads a data set.
    os.environ.setdefault("DATASETS_VERBOSITY", "error")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if loaded := sys.modules.get("datasets"):
        loaded.logging.set_verbosity_error()
        loaded.disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
    warnings.filterwarnings("ignore", message=".*mismatched key_padding_mask.*")
    warnings.filterwarnings("ignore", message=".*min_partition_size.*")
    warnings.filterwarnings("ignore", message=".*RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO.*")
