"""A backfill before it is published.

Read whole, checked, sorted in bounded memory, with ids that stay.
"""

import random
import resource
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pprm.data import cells, table
from pprm.data.files import TableError
from pprm.data.rows import Event
from worker.cli import backfill, external_sort
from worker.cli.backfill import History, prepare
from worker.cli.external_sort import Sorter
from worker.cli.published import Published, known_by
from worker.cli.repeats import Repeats
from worker.cli.send import MODELS, check
from worker.pipeline import codec

PRODUCTS = "product_id,title\ntea,Tea\nmug,Mug\n"
HEADER = "user_id,product_id,occurred_at,kind,price\n"
T = 1_700_000_000


def past(
    directory: Path, events: Iterable[str], header: str = HEADER, users: str = "", **options: Any
) -> History:
    made = {"events": header + "".join(events), "products": PRODUCTS} | (
        {"users": users} if users else {}
    )
    paths = [directory / f"{name}.csv" for name in made]
    for path, text in zip(paths, made.values(), strict=True):
        path.write_text(text)
    runs = directory / "runs"
    runs.mkdir(exist_ok=True)
    return prepare(table.read(*paths), runs, **options)


def ids(found: History) -> list[str]:
    return [
        fields["event_id"]
        for family, fields in found.messages()
        if family in ("purchases", "browses", "reviews")
    ]


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None
)
@given(
    st.lists(st.tuples(st.integers(-3, 5), st.binary(max_size=30)), max_size=300),
    st.integers(1, 5000),
)
def test_rows_come_back_sorted_and_equal_ones_as_they_came(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, bytes]], memory: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(external_sort, "FAN_IN", 3)
        sorter = Sorter(tmp_path_factory.mktemp("runs"), memory)
        for row in rows:
            sorter.add(*row)
        assert list(sorter) == sorted(rows, key=lambda row: row[0]) == list(sorter)


def test_what_is_sorted_is_not_held_in_memory(tmp_path: Path) -> None:
    sorter, rng, rows = Sorter(tmp_path, memory=1 << 20), random.Random(0), 60_000
    tracemalloc.start()
    for number in range(rows):
        sorter.add(rng.randrange(1 << 40), b"%200d" % number)
    before = -1
    for key, content in sorter:
        assert before <= key and len(content) == 200
        before, rows = key, rows - 1
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not rows and peak < 8 << 20  # of 21 MB


def test_messages_come_in_the_order_of_their_times_whatever_that_of_the_file(
    tmp_path: Path,
) -> None:
    rows = [f"u{n % 7},tea,{T + n},{'view' if n % 3 else 'purchase'},\n" for n in range(500)]
    random.Random(1).shuffle(rows)
    found = past(tmp_path, rows, users="user_id,text\nu0,likes tea\n", memory=5000)
    messages = list(found.messages())
    assert [family for family, _ in messages[:3]] == ["products", "products", "users"]
    times = [fields["occurred_at"] for _, fields in messages[3:]]
    assert times == sorted(times) and len(times) == 500
    assert messages[2][1]["updated_at"] == times[0]  # as of the first event: it is no news
    for family, fields in messages:
        check(family, fields)
    assert found.counts == {"products": 2, "users": 1, "purchases": 167, "browses": 333}


def test_ids_are_made_of_what_an_event_is_and_do_not_change(tmp_path: Path) -> None:
    rows = [
        f"u,tea,{T},purchase,3\n",
        f"u,tea,{T},purchase,3\n",
        f"u,mug,{T},purchase,3\n",
        f"v,tea,{T},view,\n",
    ]
    first = ids(past(tmp_path, rows))
    assert len(set(first)) == 4  # two units bought as two rows are two events
    again = ids(
        past(tmp_path, [f"a,tea,{T - 9},view,\n", *reversed(rows), "u,tea,yesterday,purchase,\n"])
    )
    assert set(again) > set(first) and len(again) == 5
    mended = [rows[0].replace(",3\n", ",4\n"), *rows[1:]]
    assert ids(past(tmp_path, mended)) == first
    assert set(ids(past(tmp_path, [rows[0].replace(str(T), str(T + 1)), *rows[1:]]))) != set(first)


def test_ids_of_the_table_are_kept_and_an_event_with_one_again_is_left_out(tmp_path: Path) -> None:
    header = "event_id,user_id,product_id,occurred_at\n"
    found = past(tmp_path, [f"o1,u,tea,{T}\n", f"o1,u,mug,{T}\n", f"o1,u,tea,{T}\n"], header)
    assert ids(found) == ["o1", "o1"]
    assert "left out 1: event_id that was there before" in str(found.report)


def test_every_row_is_checked_before_the_first_is_published(tmp_path: Path) -> None:
    found = past(
        tmp_path,
        [
            f"u,tea,{T},purchase,\n",
            "u,tea,never,view,\n",
            f"u,pot,{T},view,\n",
            f"u,mug,{T},view,\n",
        ],
    )
    assert found.counts == {"products": 2, "purchases": 1, "browses": 1}
    assert "line 3" in str(found.report) and "'pot'" in str(found.report)
    with pytest.raises(TableError, match=r"events.csv: 2 of 3 rows cannot be used"):
        past(tmp_path, [f"u,tea,{T},purchase,\n", "u,tea,never,view,\n", "u,tea,nor,view,\n"])
    with pytest.raises(TableError, match="compare their ids"):
        past(tmp_path, [f"u,TEA,{T},purchase,\n"])


def test_returns_are_published_as_returns(tmp_path: Path) -> None:
    rows = [
        f"u,tea,{T},purchase,2\n",
        f"u,tea,{T},purchase,-1\n",
        f"u,tea,{T},return,\n",
        f"u,tea,{T},purchase,0\n",
    ]
    found = past(
        tmp_path,
        [*rows, f"u,tea,{T},hide,\n"],
        header="user_id,product_id,occurred_at,kind,quantity\n",
    )
    messages = [fields for family, fields in found.messages() if family in ("purchases", "browses")]
    assert [fields.get("kind") or fields.get("action") for fields in messages] == [
        None,
        "return",
        "return",
        "hide",
    ]
    assert len(set(ids(found))) == 4 and found.report.left_out == {table.NONE_BOUGHT: 1}
    for family, fields in found.messages():
        check(family, fields)


def test_since_leaves_out_what_is_older(tmp_path: Path) -> None:
    found = past(tmp_path, [f"u,tea,{T},view,\n", f"u,tea,{T + 5},view,\n"], since=T + 5)
    assert found.counts["browses"] == 1 and found.report.left_out == {backfill.BEFORE: 1}


@pytest.mark.parametrize("since", [0, T + 5, T + 9])
def test_shoppers_are_as_of_the_first_event_of_the_tables_whatever_is_published(
    tmp_path: Path, since: int
) -> None:
    rows = [f"u,pot,{T},view,\n"] + [f"u,tea,{T + n},view,\n" for n in (5, 6)]
    found = past(tmp_path, rows, users="user_id,text\nu,likes tea\n", since=since)
    (user,) = [fields for family, fields in found.messages() if family == "users"]
    assert user["updated_at"] == backfill._time(T)  # of a product that is not sold any more


def test_an_event_with_one_id_counts_once_whenever_it_is_told_as_in_training(
    tmp_path: Path,
) -> None:
    header = "event_id,user_id,product_id,occurred_at,kind\n"
    rows = [
        f"{n},u{n},tea,{T + days * 86_400},{kind}\n"
        for n in range(100)
        for kind in ("purchase", "return")
        for days in (2, 0, 1)
    ]
    found = past(tmp_path, [*rows, f"x,u,tea,{T},view\n"], header, memory=2000)
    assert len(set(ids(found))) == 101 and len(ids(found)) == 201 == found.total - 2
    times = {fields.get("occurred_at") for _, fields in found.messages()} - {None}
    assert times == {backfill._time(T)}
    learned = table.load(tmp_path / "events.csv", tmp_path / "products.csv")
    assert found.report.left_out == learned.left_out == {"event_id that was there before": 400}


def test_what_repeats_an_event_from_before_since_was_there_before(tmp_path: Path) -> None:
    header = "event_id,user_id,product_id,occurred_at\n"
    rows = [f"1,u,tea,{T}\n", f"1,u,tea,{T + 9}\n", f"2,u,tea,{T + 9}\n"]
    found = past(tmp_path, rows, header, since=T + 1)
    assert ids(found) == ["2"]
    assert found.report.left_out == {backfill.BEFORE: 1, "event_id that was there before": 1}


def test_repeats_take_eight_bytes_an_event(tmp_path: Path) -> None:
    repeats = Repeats()
    event = Event("u", "tea", T)
    tracemalloc.start()
    for number in range(100_000):
        repeats.add(event._replace(event_id=str(number)), is_older=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000 and repeats.found().count == 0


def test_what_lies_ahead_is_left_out_with_its_line_in_training_too(tmp_path: Path) -> None:
    ahead = int(time.time()) + 86_400
    rows = [f"u,tea,{T},view,\n", f"u,tea,{ahead},view,\n", f"u,mug,{T},purchase,\n"]
    found = past(tmp_path, rows)
    assert found.counts.total() == 4 and "(line 3)" in str(found.report)
    learned = table.load(tmp_path / "events.csv", tmp_path / "products.csv")
    assert len(learned.user) == 2 and learned.left_out == found.report.left_out
    assert cells.AHEAD == codec.FUTURE_SECONDS


def test_a_full_disk_is_told_with_the_directory_and_what_chooses_it(tmp_path: Path) -> None:
    _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    sorter = Sorter(tmp_path, memory=1 << 20)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match=f"{tmp_path}: .*TMPDIR"):
            for number in range(2000):
                sorter.add(number, b"%1000d" % number)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_what_is_published_is_known_by_id_shopper_product_and_kind() -> None:
    event = {"event_id": "o1", "user_id": "u", "product_id": "tea", "quantity": 1}
    other = [
        event | change
        for change in (
            {"event_id": "o2"},
            {"user_id": "v"},
            {"product_id": "mug"},
            {"quantity": -1},
        )
    ]
    published = Published(b"".join(known_by("purchases", one) for one in [event, other[2]]))
    asked = [known_by("purchases", one) for one in [event | {"price": 3}, *other]] + [
        known_by("browses", event)
    ]
    assert published.holds(asked) == [True, False, False, True, False, False]
    assert Published().holds(asked) == [False] * 6


def test_families_are_those_that_can_be_sent() -> None:
    assert set(backfill.FAMILIES) == set(MODELS) - {"requests"}
    assert Counter(backfill.FAMILIES).most_common(1)[0][1] == 1
