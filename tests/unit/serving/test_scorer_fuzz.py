"""Whatever the schemas allow, every shopper gets a whole list of finite scores.

Retrieval and ranking, every way of scoring.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pprm.catalogue.catalogue import Catalogue, Product
from pprm.catalogue.popularity import Popularity, Purchase
from pprm.encoders import product_vectors
from pprm.retrieval.model import PPRM
from pprm.serving import artifact
from pprm.serving.artifact import Artifact
from pprm.serving.rules import NO_RULES, Rules, of
from pprm.serving.scorer import Scorer
from pprm.state import user_state
from pprm.state.fold import fold
from pprm.state.user_state import DAY, UserState
from schemas.limits import EARLIEST, LATEST
from worker.pipeline import codec
from worker.settings import Model

IDS = [f"p{number}" for number in range(12)]
WORDS = st.sampled_from(
    ["", "tea", "a < b", "<p>green</p>", "&nbsp;" * 20, "茶", "🍵", "x" * 512, "\x00\x7f"]
)


def at(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


TIMES = st.integers(int(EARLIEST.timestamp()), int(LATEST.timestamp()) - 1).map(at)
CLOSE = st.integers(1_700_000_000, 1_700_000_000 + 40 * DAY).map(at)
NUMBERS = st.sampled_from([0.0, 1e6, -1e6, 1000.0, -1000.0, 1e-30, 5e-324, 1.0, -0.3])
VECTORS = st.none() | st.lists(NUMBERS, min_size=1, max_size=6).map(lambda some: (some * 384)[:384])
ATTRIBUTES = st.dictionaries(st.sampled_from(["open", "size"]), WORDS, max_size=2)


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


PROMOTIONS = st.lists(
    optional(
        store_id=st.sampled_from(["s1", "s2"]), display=WORDS.filter(lambda text: len(text) < 65),
        mailer=st.just("front page feature"), starts=TIMES, until=TIMES,
    ),
    max_size=3,
)  # fmt: skip
PRODUCTS = optional(
    title=WORDS, description=WORDS, brand=WORDS, categories=st.lists(WORDS, max_size=8),
    attributes=ATTRIBUTES,
    price=st.sampled_from([0, 1e9, 0.01]), available=st.sampled_from([True, True, False]),
    promotions=PROMOTIONS,
    vector=VECTORS, updated_at=TIMES,
)  # fmt: skip
WHICH = st.fixed_dictionaries({"product_id": st.sampled_from(IDS), "occurred_at": CLOSE | TIMES})
PURCHASES = st.tuples(WHICH, optional(
    quantity=st.sampled_from([1e-9, 1.0, 1e6]), price=st.sampled_from([0, 1e9]),
    basket_id=st.sampled_from(["a", "b"]),
    store_id=st.sampled_from(["s1", "s2"]),
))  # fmt: skip
BROWSES = st.tuples(WHICH, st.fixed_dictionaries(
    {"action": st.sampled_from(["view", "search_click", "add_to_cart", "remove_from_cart"])},
    optional={"dwell_seconds": st.sampled_from([0, 86_400, 1e-300])},
))  # fmt: skip
REVIEWS = st.tuples(WHICH, optional(
    rating=st.floats(1, 5), sentiment=st.sampled_from([-1.0, 1.0, 0.0, 5e-324]), text=WORDS
))  # fmt: skip
USERS = optional(updated_at=TIMES, text=WORDS, attributes=ATTRIBUTES)
EVENTS = st.lists(
    st.one_of(
        PURCHASES.map(lambda said: ("purchases", said[0] | said[1])),
        BROWSES.map(lambda said: ("browses", said[0] | said[1])),
        REVIEWS.map(lambda said: ("reviews", said[0] | said[1])),
        USERS.map(lambda said: ("users", said)),
    ),
    max_size=60,
)  # fmt: skip
RULES = st.sampled_from([NO_RULES, of(exclude_bought_days=30), of(most_of_a_type=1)])


def record(value: dict[str, Any], key: str, offset: int) -> Any:
    said = json.dumps(value).encode()
    return SimpleNamespace(
        topic="t",
        partition=0,
        offset=offset,
        timestamp=1_700_000_000_000,
        key=key.encode(),
        value=said,
        headers=(),
    )


def accepted(products: list[dict[str, Any]]) -> list[Product]:
    """Through the codec, as the worker reads them."""
    decoded = [
        codec.decode_product(record({"title": "t"} | product | {"product_id": name}, name, 0), 384)
        for name, product in zip(IDS, products, strict=False)
    ]
    assert not [one for one in decoded if isinstance(one, codec.Invalid)]
    return [product for _, product in decoded if product]  # type: ignore[misc]


def shopper(events: list[tuple[str, dict[str, Any]]]) -> UserState:
    """Folded, stored and read again."""
    folded: list[Any] = []
    for offset, (family, value) in enumerate(events):
        decoded = codec.decode(
            family,
            record({"event_id": "e", "user_id": "u"} | value, "u", offset),
            LATEST.timestamp(),
        )
        assert not isinstance(decoded, codec.Invalid), decoded
        folded.append(decoded.event)
    return user_state.decode(user_state.encode(fold(UserState(), folded).state))


class Texts:
    """Any text has a vector of the length that BERT's have."""

    dimensions = 384

    def encode(self, texts: Any) -> Any:
        rows = [
            np.random.default_rng(len(text)).normal(0, 0.24, 384) * bool(text) for text in texts
        ]
        return np.array(rows, np.float32).reshape(len(rows), 384)


LOADED = artifact.load(Model().directory)


def compiled(made: Artifact, catalogue: Catalogue, popularity: Popularity) -> Scorer:
    return made.scorer(catalogue, popularity, Texts().encode, torch.device("cpu"))


def by_blocks(made: Artifact, catalogue: Catalogue, popularity: Popularity) -> Scorer:
    scorer = compiled(made, catalogue, popularity)
    scorer.retriever.large = 0
    return scorer


def on_device(made: Artifact, catalogue: Catalogue, popularity: Popularity) -> Scorer:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(PPRM, "is_light", False)
        return compiled(made, catalogue, popularity)


def retrieval_alone(made: Artifact, catalogue: Catalogue, popularity: Popularity) -> Scorer:
    return compiled(made.retrieval_alone(), catalogue, popularity)


@pytest.mark.parametrize("way", [compiled, by_blocks, on_device, retrieval_alone])
@settings(max_examples=60, phases=[Phase.explicit, Phase.generate, Phase.shrink])
@given(
    products=st.lists(PRODUCTS, min_size=1, max_size=len(IDS)),
    events=EVENTS,
    rules=RULES,
    later=st.integers(0, 400),
)
def test_what_the_schemas_allow_gets_a_list(
    way: Callable[[Artifact, Catalogue, Popularity], Scorer],
    products: list[dict[str, Any]],
    events: list[tuple[str, dict[str, Any]]],
    rules: Rules,
    later: int,
) -> None:
    catalogue, popularity, state = Catalogue(384), Popularity(), shopper(events)
    known = accepted(products)
    catalogue.put(known, product_vectors.vectors(known, 384, Texts()))
    popularity.add(
        Purchase(key, int(at), True)
        for key, at in zip(
            state.product_keys().tolist(), state.product_counters()["last"], strict=True
        )
    )
    scorer, now = way(LOADED, catalogue, popularity), state.active_at + later * DAY
    (listed,) = scorer.recommend([state], [now], 10, rules)
    assert (
        np.isfinite(listed.scores).all()
        and (listed.scores >= 0).all()
        and (listed.scores <= 1).all()
    )
    assert len(set(listed.rows.tolist())) == len(listed.rows) == len(listed.reasons)
    assert catalogue.available[listed.rows].all()
    if rules is NO_RULES:
        assert len(listed.rows) == min(10, catalogue.available.sum())
