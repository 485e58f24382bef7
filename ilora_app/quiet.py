"""Keeps the log of a run readable: no chatter, no traceback of a mistake."""

import logging
import warnings


def quiet_libraries() -> None:
    """Silence progress bars, load reports, and warnings that no user can act on."""
    # PEFT imports bitsandbytes, whose import tells of a kernel that it does without.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    import datasets
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
    warnings.filterwarnings("ignore", message=".*min_partition_size.*")
    warnings.filterwarnings("ignore", message=".*RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO.*")


def show_plainly(*mistakes: type[Exception]) -> None:
    """Have Flower log these exceptions as their message, without a traceback.

    A ServerApp has to raise for its run to count as failed, and Flower logs whatever
    is raised with all frames; for a mistake of the user the message is all there is.
    """

    def plain(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, mistakes):
            record.msg, record.args = str(error), ()
            record.exc_info, record.exc_text = None, None
        return True

    logging.getLogger("flwr").addFilter(plain)
