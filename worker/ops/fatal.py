"""The end of the process after an unforeseen error.

It comes before anything is acknowledged, and is logged.
"""

import logging
import os
import sys
from typing import NoReturn

import structlog

from pprm.core.errors import Foreseen

EXIT_CODE = 70
"""EX_SOFTWARE of sysexits.h: a supervisor restarts the worker, which reads the batch again."""

log = structlog.get_logger(__name__)


def exit_now(what: str, error: BaseException) -> NoReturn:
    """Log why and end the process at once; a sentence of ours is enough without a traceback.

    Not an exception: Faust acknowledges events whose agent raised, and restarts agents on the
    *next* event. Ending without clean-up is safe, since kill -9 must be: nothing of the unfinished
    batch is committed.
    """
    if isinstance(error, Foreseen):
        log.critical(f"{what}: {error}", exit_code=EXIT_CODE)
        log.debug("where it came from", exc_info=error)
    else:
        named = f"{type(error).__name__}: {error}"
        log.critical(what, error=named, exc_info=error, exit_code=EXIT_CODE)
    logging.shutdown()
    sys.stderr.flush()
    os._exit(EXIT_CODE)
