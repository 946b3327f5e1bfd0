"""A worker with faults built in.

`python -m tests.faults.sabotage FAULT=VALUE[@MARKER] ...` in place of `pprm worker`.

drop=0.02           throw away this part of what is fetched, on the way to the agent
fail-batch=5        raise an exception between the states and the lists of the fifth micro-batch
slow-list=0.005     the model takes 5 ms more for each list
slow-batch=5:15     the model takes 15 s for the fifth micro-batch
refuse-send=5       the broker refuses what the fifth micro-batch sends
suspend-send=5      the process stops (SIGSTOP) with the fifth states that it sends in its hands
kill-turn=5          kill -9 between the lists and the states of the fifth turn that has lists
fail-fetch=TOPIC     aiokafka's fetcher fails at an answer that has this topic

With a marker file a fault happens once: the file is made then, and a worker that finds it is sound.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def drop(value: str) -> None:
    from worker.runtime.records import RangeScheduler

    rng, iterate = random.Random(1), RangeScheduler.iterate

    def lossy(self: Any, records: Any) -> Iterator[Any]:
        return (item for item in iterate(self, records) if rng.random() >= float(value))

    RangeScheduler.iterate = lossy  # type: ignore[method-assign]


def fail_batch(value: str) -> None:
    from worker.pipeline.publishing import Publisher

    publish, turn = Publisher.publish, _at(int(value))

    async def failing(*arguments: Any) -> Any:
        if turn():
            raise RuntimeError("sabotage: this micro-batch fails")
        return await publish(*arguments)

    Publisher.publish = failing  # type: ignore[method-assign]


def kill_turn(value: str) -> None:
    """Of a turn whose lists and states are one transaction: before it is written."""
    from worker.pipeline.publishing import Publisher

    publish, write, turn = Publisher.publish, Publisher._write, _at(int(value))

    async def turning(self: Any, batch: Any, rows: Any) -> Any:
        dying[0] = not batch.records and bool(rows) and turn()
        return await publish(self, batch, rows)

    async def killing(self: Any, rows: Any, offsets: Any, ours: Any) -> Any:
        if dying[0] and not self._delivery.commits_offsets:
            await write(self, rows, offsets, ours)
        if dying[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return await write(self, rows, offsets, ours)

    dying = [False]
    Publisher.publish, Publisher._write = turning, killing  # type: ignore[method-assign]


def slow_batch(value: str) -> None:
    from worker.pipeline.recommender import Recommender

    number, seconds = value.split(":")
    answer, turn = Recommender.answer, _at(int(number))

    def slow(*arguments: Any) -> Any:
        if turn():
            time.sleep(float(seconds))
        return answer(*arguments)

    Recommender.answer = slow  # type: ignore[method-assign]


def slow_list(value: str) -> None:
    from worker.pipeline.recommender import Recommender

    answer = Recommender.answer

    def slow(self: Any, bought: Any, requests: Any) -> Any:
        time.sleep(len(requests) * float(value))
        return answer(self, bought, requests)

    Recommender.answer = slow  # type: ignore[method-assign]


def refuse_send(value: str) -> None:
    from aiokafka.errors import MessageSizeTooLargeError

    from worker.runtime import delivery

    append, turn = delivery.append_rows, _at(int(value))

    async def refusing(producer: Any, rows: Any, limits: Any) -> Any:
        if turn():
            # as when one partition takes it and another does not
            half = dict(list(rows.items())[:1])
            await append(producer, half, limits)
            raise MessageSizeTooLargeError("sabotage: refused")
        return await append(producer, rows, limits)

    delivery.append_rows = refusing


def suspend_send(value: str) -> None:
    from worker.runtime import delivery

    append, turn = delivery.append_rows, _at(int(value))

    async def suspending(producer: Any, rows: Any, limits: Any) -> Any:
        has_states = any(topic.endswith("changelog") for topic, _ in rows)
        if has_states and turn():
            os.kill(os.getpid(), signal.SIGSTOP)
        return await append(producer, rows, limits)

    delivery.append_rows = suspending


def fail_fetch(value: str) -> None:
    from worker.kafka import reader

    fetch = reader.Fetcher._proc_fetch_request

    async def failing(self: Any, assignment: Any, node: int, request: Any) -> Any:
        if any(topic == value for topic, _ in request.topics):
            raise RuntimeError("sabotage: this fetch fails")
        return await fetch(self, assignment, node, request)

    reader.Fetcher._proc_fetch_request = failing


def _at(number: int) -> Callable[[], bool]:
    """True at the nth call, once."""
    calls = 0

    def turn() -> bool:
        nonlocal calls
        calls += 1
        if calls != number or (marker and marker.exists()):
            return False
        if marker:
            marker.touch()
        return True

    return turn


FAULTS = {
    "drop": drop,
    "fail-batch": fail_batch,
    "slow-list": slow_list,
    "slow-batch": slow_batch,
    "refuse-send": refuse_send,
    "suspend-send": suspend_send,
    "kill-turn": kill_turn,
    "fail-fetch": fail_fetch,
}
marker: Path | None = None

if __name__ == "__main__":
    for argument in sys.argv[1:]:
        fault, _, rest = argument.partition("=")
        value, _, path = rest.partition("@")
        marker = Path(path) if path else None
        FAULTS[fault](value)
    from worker.app import run
    from worker.settings import load

    run(load())
