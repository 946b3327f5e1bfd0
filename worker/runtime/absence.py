"""Is the broker just away?

Then it is waited for, however long: a worker that ends or restarts would help nobody.
"""

from aiokafka.errors import KafkaError, KafkaTimeoutError

RETRY_SECONDS = 1.0


def is_away(error: BaseException) -> bool:
    """Whether an error says no more than that a broker did not answer, or asks to be tried again."""
    if isinstance(error, KafkaError):
        return bool(error.retriable) or isinstance(error, KafkaTimeoutError)
    return isinstance(error, TimeoutError)
