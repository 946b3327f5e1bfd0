"""Is the broker just away?

Then the worker waits, however long: to end or to restart would help nobody.
"""

from aiokafka.errors import KafkaError, KafkaTimeoutError

RETRY_SECONDS = 1.0


def is_away(error: BaseException) -> bool:
    """Whether an error only means that a broker did not answer, or asks for another try."""
    if isinstance(error, KafkaError):
        return bool(error.retriable) or isinstance(error, KafkaTimeoutError)
    return isinstance(error, TimeoutError)
