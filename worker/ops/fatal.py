"""The end of the process when something went wrong that nobody foresaw.

Before anything is acknowledged, and loudly.
"""

import logging
import os
import sys
from typing import NoReturn

import structlog

EXIT_CODE = 70
"""EX_SOFTWARE of sysexits.h: a supervisor restarts the worker and the unfinished micro-batch is
read again."""

log = structlog.get_logger(__name__)


def exit_now(what: str, error: BaseException) -> NoReturn:
    """Log why and end the process at once.

    Not an exception: Faust acknowledges events whose agent raised, and restarts agents on the
    *next* event. Ending without clean-up is safe, since kill -9 must be: nothing of the unfinished
    batch is committed.
    """
    log.critical(
        what, error=f"{type(error).__name__}: {error}", exc_info=error, exit_code=EXIT_CODE
    )
    logging.shutdown()
    sys.stderr.flush()
    os._exit(EXIT_CODE)
