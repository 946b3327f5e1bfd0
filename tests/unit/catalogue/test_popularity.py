import tracemalloc
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pprm.catalogue.popularity import (
    COLUMNS,
    HALF_LIVES,
    MAX_SNAPSHOT,
    Popularity,
    Purchase,
    Snapshot,
    decode_snapshot,
    encode_snapshot,
)
from pprm.core.events import Interaction, Kind, Position
from pprm.state.fold import fold
from pprm.state.user_state import UserState

DAY = 86_400
START = 17_000 * DAY
PURCHASES = st.lists(
    st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(0, 60)), max_size=60
)


def states_of(purchases: list[tuple[int, int, int]]) -> tuple[list[UserState], list[Purchase]]:
    """Each shopper's state, and all purchases that were counted."""
    states, counted = {}, []
    for number, (user, product, day) in enumerate(purchases):
        event = Interaction(
            Position(0, 0, number), Kind.PURCHASE, product, START + day * DAY, number + 1
        )
        folded = fold(states.get(user, UserState()), [event])
        states[user] = folded.state
        counted += [
            Purchase(one.event.product, one.event.time, one.is_first) for one in folded.counted
        ]
    return list(states.values()), counted


@given(PURCHASES)
def test_a_rebuild_from_the_states_equals_counting_along(
    purchases: list[tuple[int, int, int]],
) -> None:
    states, counted = states_of(purchases)
    along, rebuilt = Popularity(), Popularity()
    along.add(counted)
    for state in states:
        rebuilt.add_state(state)
    products = np.arange(1, 10, dtype=np.uint64)
    for popularity in (along, rebuilt):
        popularity.advance(START + 61 * DAY)
    assert np.isfinite(rebuilt.features(products)).all()
    assert np.allclose(along.features(products), rebuilt.features(products), atol=1e-6)


@given(PURCHASES, st.integers(0, 60))
def test_decayed_counters_equal_a_recount(
    purchases: list[tuple[int, int, int]], today: int
) -> None:
    popularity = Popularity()
    popularity.advance(START + today * DAY)
    popularity.add(Purchase(product, START + day * DAY) for _, product, day in purchases)
    products = np.arange(1, 10, dtype=np.uint64)
    known = [(product, today - day) for _, product, day in purchases if day < today]
    week = np.array(
        [sum(2 ** (-age / 7) for p, age in known if p == product) for product in range(1, 10)]
    ) * np.log(2)
    count = np.array([sum(p == product for p, _ in known) for product in range(1, 10)])
    features = popularity.features(products)
    assert np.allclose(features[:, 0], np.log1p(week) / 4, atol=1e-6)
    assert np.allclose(features[:, 2], np.log1p(count) / 6, atol=1e-6)


def test_purchases_of_today_show_tomorrow() -> None:
    popularity, product = Popularity(), np.array([7], np.uint64)
    popularity.advance(START)
    popularity.add([Purchase(7, START + 3600)])
    assert not popularity.advance(START + 7200) and not popularity.features(product).any()
    assert popularity.advance(START + DAY) and popularity.features(product)[0, 0] > 0


def test_time_never_goes_back_and_late_purchases_count() -> None:
    popularity, product = Popularity(), np.array([7], np.uint64)
    popularity.advance(START + 10 * DAY)
    assert not popularity.advance(START)
    popularity.add([Purchase(7, START)])
    assert popularity.features(product)[0, 2] > 0


@dataclass
class Recounted:
    """What `Popularity` promises, without a sum kept anywhere.

    Every purchase, and since when it counts.
    """

    day: int = 0
    counted: list[tuple[int, Purchase]] = field(default_factory=list)
    """Partition and purchase."""
    waiting: list[tuple[int, Purchase]] = field(default_factory=list)

    def add(self, purchases: list[Purchase], partition: int) -> None:
        self.waiting += [(partition, purchase) for purchase in purchases]
        self._let_in()

    def advance(self, now: float) -> None:
        self.day = max(self.day, int(now // DAY))
        self._let_in()

    def disown(self, partitions: list[int]) -> None:
        self.waiting = [
            (owner, purchase) for owner, purchase in self.waiting if owner not in partitions
        ]

    def own(self, partition: int) -> None:
        self.disown([partition])
        self.counted = [(owner, purchase) for owner, purchase in self.counted if owner != partition]

    def _let_in(self) -> None:
        over = [one for one in self.waiting if one[1].time < self.day * DAY]
        self.counted += over
        self.waiting = [one for one in self.waiting if one not in over]

    def counters(self, product: int) -> list[float]:
        sums = [0.0] * 8
        for _, one in self.counted:
            if one.product == product:
                age = self.day - one.time / DAY
                any_ = [1.0, 2 ** (-age / 7), 2 ** (-age / 28)]
                first = [number * one.is_first for number in any_]
                sums = [
                    a + b
                    for a, b in zip(sums, [*any_, *first, 2**-age, 2 ** (-age / 3)], strict=True)
                ]
        return sums


TIMES = st.integers(START - 3 * DAY, START + 6 * DAY) | st.sampled_from(
    [START - 1, START, START + DAY, 0, 2**32 - 1]
)
STEPS = st.lists(
    st.tuples(
        st.just("add"),
        st.lists(st.builds(Purchase, st.integers(1, 4), TIMES, st.booleans(), st.just(1))),
        st.integers(0, 2),
    )
    | st.tuples(st.just("advance"), st.integers(START - DAY, START + 7 * DAY))
    | st.tuples(st.just("disown"), st.lists(st.integers(0, 2), max_size=2))
    | st.tuples(st.just("own"), st.integers(0, 2)),
    max_size=12,
)


@given(STEPS, st.booleans())
def test_purchases_of_any_day_count_from_the_day_after(
    steps: list[tuple[str, object]], fresh: bool
) -> None:
    popularity, recounted, gone = Popularity(), Recounted(), set[object]()
    for name, *arguments in [*([] if fresh else [("advance", START)]), *steps]:
        if name == "add" and arguments[-1] in gone:
            continue  # only its owner counts a partition
        if name == "disown":
            gone.update(*arguments)
        if name == "own":
            gone -= {*arguments}
        for counts in (popularity, recounted):
            getattr(counts, name)(*arguments)
        assert popularity.day == recounted.day
        wanted = [recounted.counters(product) for product in range(1, 5)]
        assert np.allclose(
            popularity.counters(np.arange(1, 5, dtype=np.uint64)), wanted, rtol=1e-6, atol=1e-9
        )


def test_a_day_takes_memory_by_products_not_by_purchases() -> None:
    popularity = Popularity()
    popularity.advance(START)
    some = [Purchase(product, START + product) for product in range(1, 100)]
    popularity.add(some)
    tracemalloc.start()
    for _ in range(100):
        popularity.add(some)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 20_000
    popularity.advance(START + DAY)
    assert popularity.purchases() == 101 * 99


def test_products_nobody_bought_have_no_popularity() -> None:
    assert not Popularity().features(np.array([1, 2], np.uint64)).any()


@given(PURCHASES, st.integers(0, 61))
def test_a_rebuild_in_mid_day_leaves_the_day_out(
    purchases: list[tuple[int, int, int]], today: int
) -> None:
    states, counted = states_of([purchase for purchase in purchases if purchase[2] <= today])
    along, rebuilt = Popularity(), Popularity()
    along.advance(START + today * DAY)
    along.add(counted)
    for state in states:
        rebuilt.add_state(state)
    rebuilt.advance(START + today * DAY)
    products = np.arange(1, 10, dtype=np.uint64)
    assert np.allclose(along.features(products), rebuilt.features(products), atol=1e-5)


def test_many_states_at_once_count_like_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("state.fold", "catalogue.popularity"):
        # so that sequences know products that were evicted
        monkeypatch.setattr(f"pprm.{module}.MAX_PRODUCTS", 3)
    rng = np.random.default_rng(5)
    purchases = [
        (int(rng.integers(4)), int(rng.integers(1, 10)), int(day))
        for day in np.sort(rng.integers(0, 30, 80))
    ]
    states, _ = states_of(purchases)
    assert any(len(np.unique(state.interactions()["product"])) > 3 for state in states)
    alone, together = Popularity(), Popularity()
    for state in states:
        alone.add_state(state)
    together.add_states(states)
    products = np.arange(1, 10, dtype=np.uint64)
    assert (
        np.allclose(alone.counters(products), together.counters(products))
        and together.purchases() > 0
    )
    for popularity in (alone, together):
        popularity.advance(START + 40 * DAY)  # what waited for tomorrow counts, too
    assert np.allclose(alone.counters(products), together.counters(products))


MOVES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=8)


@dataclass
class Workers:
    """Three workers that share four partitions.

    Whoever takes one over counts its shoppers' states again.
    """

    workers: list[Popularity] = field(default_factory=lambda: [Popularity() for _ in range(3)])
    owner: dict[int, int] = field(
        default_factory=lambda: {partition: partition % 3 for partition in range(4)}
    )
    shoppers: dict[int, UserState] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for partition, worker in self.owner.items():
            self.workers[worker].own(partition)

    def buy(self, user: int, event: Interaction) -> list[tuple[int, int]]:
        folded = fold(self.shoppers.get(user, UserState()), [event])
        self.shoppers[user] = folded.state
        bought = [
            Purchase(one.event.product, one.event.time, one.is_first) for one in folded.counted
        ]
        self.workers[self.owner[user % 4]].add(bought, user % 4)
        return bought

    def move(self, partition: int, to: int) -> None:
        self.workers[self.owner[partition]].disown([partition])
        self.owner[partition] = to
        self.workers[to].own(partition)
        for user, state in self.shoppers.items():
            if user % 4 == partition:
                self.workers[to].add_state(state, partition)

    def exchange(self) -> None:
        for worker in self.workers:
            for partition in worker.versions():
                said = decode_snapshot(encode_snapshot(worker.snapshot(partition)), 17_100)
                for other in self.workers:
                    other.put(partition, said)


@given(PURCHASES, MOVES)
def test_workers_that_exchange_snapshots_agree_with_one_that_counts_all(
    purchases: list[tuple[int, int, int]], moves: list[tuple[int, int]]
) -> None:
    alone, shared = Popularity(), Workers()
    for number, (user, product, day) in enumerate(purchases):
        event = Interaction(
            Position(0, 0, number), Kind.PURCHASE, product, START + day * DAY, number + 1
        )
        alone.add(shared.buy(user, event))
        if moves and number % 5 == 4:
            shared.move(*moves.pop())
    alone.advance(START + 61 * DAY)
    shared.workers[0].own(4)  # that it has something to say of the day, whatever moved
    shared.workers[0].advance(START + 61 * DAY)
    for _ in range(2):  # the first round tells everybody the day
        shared.exchange()
    products = np.arange(1, 10, dtype=np.uint64)
    for worker in shared.workers:
        assert np.allclose(worker.features(products), alone.features(products), atol=1e-5)


def test_the_newest_snapshot_of_each_partition_counts() -> None:
    rng, popularity = np.random.default_rng(3), Popularity()
    products, newest = np.arange(1, 30, dtype=np.uint64), dict[int, Snapshot]()
    for number in range(60):
        some = rng.choice(products, 12, replace=False)
        said = Snapshot(17_000 + number // 25, some, (100 * rng.random((12, 8))).astype(np.float32))
        partition = int(rng.integers(4))
        popularity.put(partition, said)
        newest[partition] = said
        if number == 40:
            popularity.own(2)
        if number >= 40:
            newest.pop(2, None)  # it is counted here, from nothing
        if number % 7 == 0:  # that nobody asks in between changes nothing
            sums = np.zeros((len(products), 8))
            for snapshot in newest.values():
                decays = 2 ** ((snapshot.day - popularity.day) / np.array(HALF_LIVES))
                sums[snapshot.products.astype(int) - 1] += snapshot.counters * decays
            assert np.allclose(popularity.counters(products), sums, rtol=1e-12, atol=1e-9)


def test_a_snapshot_holds_the_most_popular_products() -> None:
    popularity = Popularity()
    popularity.advance(START)
    popularity.add([Purchase(product, START - DAY) for product in range(MAX_SNAPSHOT + 10)])
    popularity.add([Purchase(MAX_SNAPSHOT + 5, START - DAY)] * 3)
    snapshot = decode_snapshot(encode_snapshot(popularity.snapshot(0)), 17_000)
    assert len(snapshot.products) == MAX_SNAPSHOT and snapshot.products[0] == MAX_SNAPSHOT + 5
    assert snapshot.counters[0, 0] == 4 and snapshot.day == 17_000


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b"\x07" + b[1:], lambda b: b[:12], lambda b: b""]
)
def test_bytes_that_are_no_snapshot_are_refused(damage: object) -> None:
    popularity = Popularity()
    popularity.advance(START)
    popularity.add([Purchase(7, START - DAY)])
    value = encode_snapshot(popularity.snapshot(0))
    with pytest.raises(ValueError, match="snapshot"):
        decode_snapshot(damage(value), 17_000)  # type: ignore[operator]
    with pytest.raises(ValueError, match="day 17000"):
        decode_snapshot(value, 16_999)


def test_a_batch_that_ends_after_its_partition_was_given_away_does_not_hide_the_next_owner() -> (
    None
):
    made, product = Popularity(), np.array([7], np.uint64)
    made.own(3)
    made.advance(20 * DAY)
    made.disown([3])
    made.add([Purchase(7, 19 * int(DAY))], 3)
    made.put(3, Snapshot(20, product, np.full((1, COLUMNS), 5.0, np.float32)))
    assert made.counters(product)[0, 0] == 5 and 3 not in made.versions()
    made.own(3)
    made.add([Purchase(7, 19 * int(DAY))], 3)
    assert made.counters(product)[0, 0] == 1
