"""The way of a micro-batch from bytes to published lists.

decode ─ fold into the shoppers' states ─ score ─ encode ─ publish, await every acknowledgement ─
store. A turn, in which lists are made again unasked, has nothing to decode.

While a batch is published and stored, the next one is made ready up to there, on states that are
not stored yet. If a rebalance takes the partitions away in between, nothing more of either is
written; if anything else goes wrong, the process ends and both are read again.
"""

from asyncio import Task, TaskGroup, sleep
from dataclasses import dataclass

from worker.ops.fatal import exit_now
from worker.ops.health import Health
from worker.pipeline.decoding import Decoder
from worker.pipeline.folding import Folder
from worker.pipeline.gate import Gate
from worker.pipeline.measures import Measures
from worker.pipeline.ownership import Ownership
from worker.pipeline.popularity import PopularityExchange
from worker.pipeline.publishing import Publisher
from worker.pipeline.refreshing import Refreshing
from worker.pipeline.scoring import Scoring
from worker.pipeline.states import States
from worker.pipeline.stream_time import StreamTime
from worker.pipeline.work import Values, Work
from worker.runtime import collector
from worker.runtime.changelog import Superseded
from worker.runtime.delivery import NotOurs
from worker.runtime.stream import LedgerStream, MicroBatch

TURNS = 5
"""Turns of the event loop until what a micro-batch writes is on its way (aiokafka takes 4).

The next batch would keep it waiting while it is decoded and folded.
"""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The one agent, which reads all topics: two that write the same table would race."""

    batch_seconds: float
    """Of work in a micro-batch, about."""
    gate: Gate
    ownership: Ownership
    decoder: Decoder
    folder: Folder
    scoring: Scoring
    publisher: Publisher
    states: States
    popularity: PopularityExchange
    time: StreamTime
    refreshing: Refreshing
    measures: Measures
    health: Health

    async def run(self, stream: LedgerStream) -> None:
        """Work on a stream until the worker ends; what fails ends the process."""
        await self.gate.wait()
        collector.freeze_heap()
        self.health.agent_running = True
        try:
            await self.work_on(stream)
        except* Exception as errors:
            first = errors.exceptions[0]
            exit_now(
                "a micro-batch failed: nothing of it is committed, it will be read again", first
            )
        finally:
            self.health.agent_running = False

    async def work_on(self, stream: LedgerStream) -> None:
        """Answer micro-batches in order, two at a time.

        One is made ready while the one before it is written.
        """
        async with TaskGroup() as writes:
            last: Task[None] | None = None
            epoch, unstored = -1, dict[int, dict[bytes, bytes]]()
            batches = stream.micro_batches(self.batch_seconds, self.gate.wait, self.refreshing)
            async for batch in batches:
                # what was counted of a batch that came to nothing is counted anew first
                if last and batch.epoch != epoch:
                    await last
                    unstored = {}
                work = await self.make_ready(batch, unstored)
                if last:
                    await last
                last = writes.create_task(self.write(stream, batch, work))
                epoch, unstored = batch.epoch, work.values
                for _ in range(TURNS):
                    await sleep(0)

    async def make_ready(self, batch: MicroBatch, unstored: Values) -> Work:
        """Do all of a micro-batch up to the rows to be written.

        `unstored` are states that are newer than the table's.
        """
        stage = self.measures.stage
        if not batch.records:
            return await self.take_turn(unstored)
        self.measures.began(batch)
        with stage("decode"):
            work = self.decoder.decode(batch)
            self.time.move(work)
        with stage("fold"):
            await self.scoring.promote(work.shoppers)
            self.folder.fold(work, unstored)
        with stage("score"):
            await self.scoring.score(work.shoppers)
        with stage("encode"):
            self.publisher.encode(work)
        return work

    async def take_turn(self, unstored: Values) -> Work:
        """Make lists again that are due, up to the rows to be written; `make_ready` of a turn."""
        stage = self.measures.stage
        work = await self.refreshing.take()
        with stage("fold"):
            self.folder.fold(work, unstored)
        with stage("score"):
            await self.scoring.refresh(work)
        with stage("encode"):
            self.publisher.encode(work)
        return work

    async def write(self, stream: LedgerStream, batch: MicroBatch, work: Work) -> None:
        """Publish and store a micro-batch, unless it is no longer ours.

        Then nothing is written locally.
        """
        stage = self.measures.stage
        with stream.finishing(batch):
            async with self.states.writing:
                try:
                    with stage("publish"):
                        appended = await self.publisher.publish(batch, work.rows)
                    with stage("store"):
                        await self.states.store(batch, work.values, appended)
                except (NotOurs, Superseded):
                    if self.ownership.epoch == batch.epoch:
                        raise
                    await self.popularity.recount(self.ownership.owned)
                    return
            self.measures.stored(work)
