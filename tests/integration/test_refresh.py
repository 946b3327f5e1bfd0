"""First lists after a backfill, by the command."""

import asyncio
import os
import subprocess
import sys
from typing import Any

import pytest

from pprm.state import user_state
from tests.integration.shop import Shop, product, purchase

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

USERS = [f"u{number}" for number in range(30)]


def run(shop: Shop, *arguments: str) -> tuple[int, str]:
    environment = os.environ | {"PPRM_APP_ID": shop.name, "PPRM_TOPICS__PREFIX": f"{shop.name}-"}
    command = [sys.executable, "-m", "worker", "refresh", *arguments, "--broker", shop.broker]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def _bought(found: list[Any], user: str) -> int:
    newest = {(r.key, r.partition): r.value for r in found}
    return sum(
        user_state.decode(value).purchases
        for (key, _), value in newest.items()
        if key == user.encode()
    )


def test_everybody_who_is_known_gets_a_list_as_of_the_time_asked_for(shop: Shop) -> None:
    shop.extra["PPRM_RECOMMENDATIONS__SCORE_FROM"] = "2017-12-01T00:00:00Z"

    async def story() -> None:
        await shop.create_topics()
        await shop.publish("products", [product(i) for i in range(15)])
        worker = shop.start_worker().wait_until_ready()
        await shop.publish(
            "purchases", [purchase(user, f"p{i % 15}", i) for i, user in enumerate(USERS)]
        )
        await shop.wait_for(
            "changelog", lambda found: {r.key.decode() for r in found if r.value} == set(USERS)
        )
        assert not await shop.lists()
        await shop.publish("users", [("u3", None), ("u4", None)])
        gone = lambda found: {b"u3", b"u4"} <= {r.key for r in found}  # noqa: E731
        await shop.wait_for("recommendations", gone)
        await shop.publish("purchases", [purchase("u4", "p1", 99)])
        await shop.wait_for("changelog", lambda found: _bought(found, "u4") == 1)
        code, said = await asyncio.to_thread(run, shop, "--all", "--at", "2017-12-24T08:00:00Z")
        assert code == 0 and "29 requests answered, as of 2017-12-24T08:00:00+00:00" in said
        lists = await shop.lists()
        assert {user for user, listed in lists.items() if listed} == set(USERS) - {"u3"}
        assert {listed["trigger"]["topic"] for listed in lists.values() if listed} == {
            shop.topic("requests")
        }
        code, said = await asyncio.to_thread(run, shop, "nobody", "--at", "2017-12-24T08:00:00Z")
        assert code == 0 and len((await shop.lists())["nobody"]["items"]) == 10
        assert worker.terminate() == 0

    asyncio.run(story())


def test_it_says_what_is_missing(shop: Shop) -> None:
    code, said = run(shop)
    assert code == 2 and "name shoppers, or --all" in said
    code, said = run(shop, "--all")
    assert code == 2 and "Run `pprm topics create`" in said
