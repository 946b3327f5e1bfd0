"""Follows all partitions of a compacted topic, outside of the consumer group.

Partitions that come later are followed, and a topic made anew.
"""

import asyncio
from time import monotonic

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from worker.kafka import reader
from worker.runtime import metadata
from worker.runtime.metadata import Topic

LOOK_EVERY = 3.0
"""Seconds between two looks at the topic."""

log = structlog.get_logger(__name__)


class Followed:
    """A topic whose partitions a consumer has all of, from their beginning on.

    Make it with `begin`.
    """

    def __init__(self, consumer: AIOKafkaConsumer, topic: str) -> None:
        self.consumer, self.topic = consumer, topic
        self.partitions: list[TopicPartition] = []
        self._seen = Topic(metadata.NONE, 0)
        self._looked = 0.0

    async def begin(self) -> None:
        """Wait until the topic is there, and read it from its beginning."""
        while not (there := await self._look()):
            log.info("waiting for the topic", topic=self.topic)
            await asyncio.sleep(1)
        self.partitions = []
        await self._take(there)

    async def keep_up(self) -> bool:
        """Look for changes of the topic, every few seconds; True where it was made anew.

        Then it is read from its beginning, and what only the one before held is gone.
        """
        if (
            monotonic() - self._looked < LOOK_EVERY
            or not (there := await self._look())
            or there == self._seen
        ):
            return False
        is_another = there.log != self._seen.log
        if is_another:
            log.warning("the topic was made anew, reading it whole", topic=self.topic)
            self.partitions = []
        else:
            log.info("the topic has more partitions", topic=self.topic, partitions=there.partitions)
        await self._take(there)
        return is_another

    async def _look(self) -> Topic | None:
        self._looked = monotonic()
        try:
            client = reader.client_of(self.consumer)
            await client.force_metadata_update()
            return (await metadata.describe(client, [self.topic])).get(self.topic)
        # it names no broker, itself included: just started, or too busy
        except KafkaError as error:
            log.warning("waiting for the broker", error=str(error))
            return None

    async def _take(self, there: Topic) -> None:
        """Keep the positions of the partitions held, and read new ones from their beginning."""
        positions = {tp: await self.consumer.position(tp) for tp in self.partitions}
        self.partitions = [TopicPartition(self.topic, number) for number in range(there.partitions)]
        self.consumer.assign(self.partitions)
        for tp, position in positions.items():
            self.consumer.seek(tp, position)
        if new := [tp for tp in self.partitions if tp not in positions]:
            await self.consumer.seek_to_beginning(*new)
        self._seen = there
