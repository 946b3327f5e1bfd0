"""Offline and online agree.

The same events through fold and scorer here, and through a real worker.
"""

import asyncio
from typing import Any

import pytest

from pprm.state.fold import fold
from pprm.state.user_state import UserState, store_code
from tests.integration.shop import Shop, answers, product, purchase
from worker.pipeline import codec
from worker.pipeline.recommender import load
from worker.settings import Model

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


def test_streamed_scores_equal_offline_scores(shop: Shop) -> None:
    days = [f"2017-11-{day:02d}T10:00:00Z" for day in range(1, 9)]
    baskets = [
        [
            purchase(user, f"p{(7 * number + i) % 30}", number, at=day, store_id=f"s{number % 2}")
            for i in range(3)
        ]
        for number, (day, user) in enumerate((day, user) for day in days for user in ("flo", "gus"))
    ]

    async def online() -> list[dict[str, float]]:
        await shop.create_topics()
        await shop.publish("products", [promoted(i) for i in range(30)])
        shop.start_worker().wait_until_ready()
        lists = []
        for basket in baskets:
            sent = await shop.publish("purchases", basket)
            answer = await shop.wait_for_answer(sent[-1], basket[0][0])
            assert answers(answer["trigger"], sent[-1])
            lists.append({item["product_id"]: item["score"] for item in answer["items"]})
        return lists

    states: dict[str, UserState] = {}

    def offline() -> list[dict[str, float]]:
        recommender = load(Model(device="cpu"), 10)
        recommender.change(dict(_catalogue(i) for i in range(30)))
        lists = []
        for basket in baskets:
            user = basket[0][0]
            events = recommender.with_promotions(
                [_event(record, n) for n, record in enumerate(basket)]
            )
            folded = fold(states.get(user, UserState()), events)
            states[user] = folded.state
            (ranked,) = recommender.answer(
                [(0, counted) for counted in folded.counted], [_request(folded.state)]
            )
            lists.append({product_id: score for product_id, score, _ in ranked.items})
        return lists

    streamed, computed = asyncio.run(online()), offline()
    assert states["flo"].promotions > 0, "what was promoted has entered the states"
    for mine, theirs in zip(streamed, computed, strict=True):
        assert list(mine) == list(theirs)
        assert all(abs(mine[item] - theirs[item]) < 2e-6 for item in mine)


def _catalogue(i: int):  # type: ignore[no-untyped-def]
    import orjson

    from schemas.products import Product

    return f"p{i}", codec.to_catalogue(Product.model_validate_json(orjson.dumps(promoted(i)[1])))


def promoted(i: int) -> tuple[str, Any]:
    """Every third product is promoted for some days, in one store or in both, or everywhere."""
    where = [{"store_id": "s0"}, {"store_ids": ["s0", "s1"]}, {}][i // 3 % 3]
    week = {
        "starts": f"2017-11-0{1 + i % 4}T00:00:00Z",
        "until": "2017-11-07T00:00:00Z",
        "mailer": "front page feature",
    }
    return product(i, promotions=[week | where] if i % 3 == 0 else [])


OFFSETS = iter(range(10_000))


def _event(record, number):  # type: ignore[no-untyped-def]
    import orjson

    from pprm.core.events import Interaction, Kind, Position
    from pprm.core.ids import stable_hash
    from schemas.purchases import Purchase

    message = Purchase.model_validate_json(orjson.dumps(record[1]))
    time = int(message.occurred_at.timestamp())
    assert message.basket_id
    basket = stable_hash(message.basket_id)
    item, store = stable_hash(message.product_id), store_code(message.store_id)
    return Interaction(
        Position(0, 0, next(OFFSETS)), Kind.PURCHASE, item, time, basket, store=store
    )


def _request(state: UserState):  # type: ignore[no-untyped-def]
    from worker.pipeline.recommender import Request

    return Request(state, state.active_at)
