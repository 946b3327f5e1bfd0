"""Logging: one format for ours, Faust's and the Kafka client's lines.

No keys, values or user ids are ever logged.
"""

import logging
import sys

import structlog

from worker.settings import Log

NOISY = ("aiokafka", "faust", "mode", "worker.runtime", "transformers", "urllib3")
"""Logged from WARNING on: INFO is a page per rebalance, DEBUG has keys and values."""


def configure(log: Log) -> None:
    """Send all logging to stderr: readable lines on a terminal, else one JSON object a line."""
    as_json = log.format == "json" or (log.format == "auto" and not sys.stderr.isatty())
    renderer = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=log.level, handlers=[handler], force=True)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
