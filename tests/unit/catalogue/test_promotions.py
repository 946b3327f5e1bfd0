"""Promotions against a plain recount of the entries."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pprm.catalogue.promotions import ALL_STORES, DISPLAY, FEATURE, MAILER, WEEK, Promotions, code

DAY = 86_400
START = 17_000 * DAY
ROWS = 6
ENTRIES = st.lists(
    st.tuples(
        st.integers(0, ROWS - 1), st.integers(-14, 14), st.integers(1, 14), st.integers(0, 4),
        st.sampled_from([1, 2, 3, 6]),
    ),
    max_size=40,
)  # fmt: skip


def promotions_of(entries: list[tuple[int, int, int, int, int]]) -> Promotions:
    made = Promotions()
    for row in range(ROWS):
        made.put(
            row,
            [
                (START + a * DAY, START + (a + n) * DAY, store, bits)
                for r, a, n, store, bits in entries
                if r == row
            ],
        )
    return made


@given(ENTRIES, st.integers(0, 10))
def test_shares_and_stores_equal_a_recount(
    entries: list[tuple[int, int, int, int, int]], day: int
) -> None:
    made = promotions_of(entries)
    promoted = made.at(START + day * DAY + 5000, ROWS)

    def holding(when: int) -> list[tuple[int, int, int]]:
        return [(row, store, bits) for row, a, n, store, bits in entries if a <= when < a + n]

    def share(when: int, row: int, bit: int) -> float:
        held = holding(when)
        stores = {store for _, store, _ in held if store != ALL_STORES}
        mine = [(store, bits) for r, store, bits in held if r == row and bits & bit]
        everywhere = sum(store == ALL_STORES for store, _ in mine)
        return min(
            everywhere + sum(store != ALL_STORES for store, _ in mine) / max(len(stores), 1), 1.0
        )

    for row in range(ROWS):
        now = [share(day, row, bit) for bit in (MAILER, DISPLAY, FEATURE)]
        change = [now[0] - share(day - 7, row, MAILER), now[1] - share(day - 7, row, DISPLAY)]
        assert np.allclose(promoted.shares[row], [*now, *change], atol=1e-6)
        one = made.share(row, START + day * DAY + 5000)
        assert one is None if not holding(day) else np.allclose(one or (), now[:2], atol=1e-6)
    for store in (1, 3):
        at_store = promoted.at_store(store, np.arange(ROWS))
        bits = np.zeros(ROWS, int)
        for row, where, bit in holding(day):
            bits[row] |= bit if where in (store, ALL_STORES) else 0
        before = {row for row, where, _ in holding(day - 7) if where in (store, ALL_STORES)}
        if any(where in (store, ALL_STORES) for _, where, _ in holding(day)):
            assert at_store[:, 0].tolist() == [float(b & DISPLAY > 0) for b in bits.tolist()]
            assert at_store[:, 1].tolist() == [float(b & MAILER > 0) for b in bits.tolist()]
            assert (at_store[:, 4] == 1).all()
        else:
            assert not at_store[:, :3].any()
        assert {row for row in range(ROWS) if at_store[row, 3]} == before


def test_an_unknown_store_has_no_data_but_what_holds_everywhere_is_known() -> None:
    made = Promotions()
    made.put(0, ((START, START + DAY, ALL_STORES, DISPLAY),))  # as a catalogue's product has them
    promoted = made.at(START, 1)
    assert promoted.at_store(0, np.arange(1))[0].tolist() == [0, 0, 0, 0, 0]
    assert promoted.at_store(9, np.arange(1))[0].tolist() == [1, 0, 0, 0, 1]
    assert promoted.shares[0].tolist() == [0, 1, 0, 0, 1]


def test_a_new_record_replaces_what_was_known_at_once() -> None:
    made = Promotions()
    assert not made.at(START, 2).shares.any()
    made.put(1, [(START, START + int(WEEK), 5, MAILER)])
    assert made.at(START, 2).shares[1, 0] == 1 and len(made) == 1
    made.put(1, [])
    assert not made.at(START, 2).shares.any() and not len(made)


def test_the_shops_words_become_bits() -> None:
    assert code("front end cap", None) == DISPLAY
    assert code(None, "front page feature") == MAILER | FEATURE
    assert code("x", "interior page coupon") == DISPLAY | MAILER
    assert code(None, None) == 0
