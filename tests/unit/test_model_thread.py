"""The model's thread.

One thing at a time, and short ones on the event loop only while nothing is at work.
"""

import asyncio
import threading

import pytest

from worker.model_thread import ModelThread


def test_functions_run_one_after_the_other_in_one_thread_of_their_own() -> None:
    async def story() -> None:
        model, order = ModelThread(), list[int]()

        def note(number: int) -> int:
            order.append(number)
            return threading.get_ident()

        threads = set(await asyncio.gather(*(model.run(note, number) for number in range(9))))
        assert order == list(range(9))
        assert len(threads) == 1 and threads != {threading.get_ident()}

    asyncio.run(story())


def test_a_short_one_runs_here_only_while_the_thread_has_nothing_to_do() -> None:
    async def story() -> None:
        model, go_on, order = ModelThread(), threading.Event(), list[str]()
        here = threading.get_ident()
        assert await model.run_short(threading.get_ident) == here, "nothing was ever given to it"
        first = asyncio.create_task(model.run(lambda: (go_on.wait(5), order.append("first"))))
        await asyncio.sleep(0)
        second = asyncio.create_task(
            model.run_short(lambda: (order.append("second"), threading.get_ident())[1])
        )
        await asyncio.sleep(0)
        assert not order, "the first is at work"
        go_on.set()
        await first
        assert await second != here and order == ["first", "second"]
        assert await model.run_short(threading.get_ident) == here

    asyncio.run(story())


def test_a_short_one_waits_for_what_nobody_waits_for_any_more() -> None:
    async def story() -> None:
        model, go_on, order = ModelThread(), threading.Event(), list[str]()
        first = asyncio.create_task(model.run(lambda: (go_on.wait(5), order.append("first"))))
        await asyncio.sleep(0.05)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        second = asyncio.create_task(model.run_short(order.append, "second"))
        await asyncio.sleep(0)
        go_on.set()
        await second
        assert order == ["first", "second"]

    asyncio.run(story())


def test_a_short_one_waits_for_what_is_at_work_though_one_given_later_was_called_off() -> None:
    async def story() -> None:
        model, go_on, order = ModelThread(), threading.Event(), list[str]()
        first = asyncio.create_task(model.run(lambda: (go_on.wait(5), order.append("first"))))
        called_off = asyncio.create_task(model.run(order.append, "called off"))
        await asyncio.sleep(0.05)
        called_off.cancel()
        await asyncio.gather(called_off, return_exceptions=True)
        second = asyncio.create_task(model.run_short(order.append, "second"))
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(first, second)
        assert order == ["first", "second"]

    asyncio.run(story())


def test_errors_come_out() -> None:
    async def story() -> None:
        model = ModelThread()
        for run in (model.run, model.run_short):
            with pytest.raises(ZeroDivisionError):
                await run(lambda: 1 / 0)

    asyncio.run(story())
