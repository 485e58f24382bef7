"""Keeps the log of a run readable: no traceback of a mistake."""

import logging


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
