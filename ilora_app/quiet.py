"""Keeps what the libraries say about themselves out of the log of a run."""

import logging
import warnings

import datasets
import transformers


def quiet_libraries() -> None:
    """Silence progress bars, load reports, and warnings that no user can act on."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
