"""The table format, read and written as CSV, gzip and parquet."""

import bz2
import gzip
import lzma
import re
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from pprm.core.events import Kind
from pprm.data import DATASETS, files, parquet, table
from pprm.data.cells import NOTHING, identity
from pprm.data.dataset import Dataset, ShopProduct
from pprm.data.files import CUT
from pprm.data.reading_report import Unusable
from pprm.data.rows import Event, Rows, ShopUser, collect

EVENTS = """event_id,user_id,product_id,occurred_at,kind,basket_id,store_id,quantity,price,\
dwell_seconds,rating,text
e1,u1,tea,2024-05-31T18:00:00Z,view,,,,,12.5,,
e2,u1,tea,2024-05-31T20:02:00+02:00,purchase,b1,s1,2,3.5,,,
e3,u1,mug,1717178525,,b1,s1,1,8,,,
e4,u1,mug,2024-06-02T09:00:00Z,review,,,,,,2,"cracked, after
one day"
"""
PRODUCTS = """product_id,title,description,categories,brand,price,available,material,origin
tea,Green tea,"loose, 100 g",Drinks > Hot > Tea,Leaf,3.5,true,,Japan
mug,Mug,,,Clay,8,no,stoneware,
"""
USERS = "user_id,text,city\nu1,likes tea,Oslo\nu2,,Rome\n"


@pytest.fixture
def save(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    def to_file(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return to_file


Save = Callable[[str, str | bytes], Path]


def load(
    save: Save, events: str | bytes = EVENTS, products: str | bytes = PRODUCTS, strict: bool = False
) -> Dataset:
    return table.load(save("events.csv", events), save("products.csv", products), strict=strict)


def same(a: Dataset, b: Dataset) -> bool:
    arrays = ("user", "product", "basket", "time", "kind", "store", "dwell", "sentiment")
    rest = ("name", "products", "users", "baskets", "profiles", "about")
    return all(np.array_equal(getattr(a, n), getattr(b, n)) for n in arrays) and all(
        getattr(a, n) == getattr(b, n) for n in rest
    )


def test_all_columns(save: Save) -> None:
    data = table.load(save("e.csv", EVENTS), save("p.csv", PRODUCTS), save("u.csv", USERS))
    assert (
        data.kind is not None
        and data.dwell is not None
        and data.sentiment is not None
        and data.store is not None
    )
    assert data.kind.tolist() == [Kind.VIEW, Kind.PURCHASE, Kind.PURCHASE, Kind.REVIEW]
    begin = int(datetime(2024, 5, 31, 18, tzinfo=UTC).timestamp())
    assert data.time[:3].tolist() == [begin, begin + 120, begin + 120]
    assert data.baskets == ["b1"] and data.basket.tolist() == [-1, 0, 0, -1]
    assert (
        data.dwell[0] == 12.5 and data.sentiment[3] == -0.5 and data.store[1] == data.store[2] != 0
    )
    tea, mug = data.products
    assert tea == ShopProduct(
        "tea", "Green tea", ["Drinks", "Hot", "Tea"], "Leaf", {"origin": "Japan"}, True,
        "loose, 100 g", 3.5,
    )  # fmt: skip
    assert mug.attributes == {"material": "stoneware"} and not mug.available and not mug.categories
    assert data.users == ["u1"] and data.profile("u1") == "likes tea. city Oslo"
    assert not data.left_out


def test_least_columns_are_purchases(save: Save) -> None:
    data = load(
        save, "user_id,product_id,occurred_at\nu,tea,1700000000\n", "product_id,title\ntea,Tea\n"
    )
    assert data.purchases().all() and data.products[0].available


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet"])
def test_written_tables_are_read_as_they_were(tmp_path: Path, save: Save, kind: str) -> None:
    given = save("e.csv", EVENTS), save("p.csv", PRODUCTS), save("u.csv", USERS)
    written = [tmp_path / f"{name}.{kind}" for name in ("events", "products", "users")]
    table.write(table.read(*given), *written)
    assert same(table.load(*written), table.load(*given))
    assert same(DATASETS["table"](*written), table.load(*given))


def is_id(text: str) -> bool:
    try:
        return identity("id", text) == text
    except Unusable:
        return False


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(
    lambda text: text not in NOTHING - {""}
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts, texts, texts.filter(is_id), st.sampled_from(["csv", "csv.gz", "parquet"]))
def test_any_text_survives(
    tmp_path: Path, title: str, about: str, identity: str, kind: str
) -> None:
    rows = Rows(
        [Event(identity, identity, 1_600_000_000, Kind.REVIEW, text=title)],
        [
            ShopProduct(
                identity, title, [], about, {"note": about} if about else {}, True, about, 0.1
            )
        ],
        [ShopUser(identity, about, {"note": title} if title else {})],
    )
    paths = [tmp_path / f"{name}.{kind}" for name in ("events", "products", "users")]
    table.write(rows, *paths)
    again = table.load(*paths)
    assert same(again, collect("table", rows))


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (
            "user_id,product_id\nu,tea\n",
            "events.csv, line 1: there is no column 'occurred_at': there are user_id, pro",
        ),
        (
            "user_id;product_id;occurred_at\nu;tea;1700000000\n",
            "line 1: the columns are separated by semicolons: save",
        ),
        (
            "user_id\tproduct_id\toccurred_at\nu\ttea\t1700000000\n",
            "line 1: the columns are separated by tabs",
        ),
        (
            "user_id,product_id,occurred_at,knd\nu,tea,1700000000,view\n",
            r"line 1: unknown column 'knd' \(is it 'kind'",
        ),
        (
            "User_ID,product_id,occurred_at\nu,tea,1700000000\n",
            r"unknown column 'User_ID' \(is it 'user_id'\?\)",
        ),
        (
            ",user_id,product_id,occurred_at\n0,u,tea,1700000000\n",
            "line 1: column 1 has no name: name it, or leave it",
        ),
        (
            "user_id,product_id,occurred_at\nu,tea,2026-03-01\n",
            "must have a time of day and a zone, as in 2024-05-31T0",
        ),
        (
            "user_id,product_id,occurred_at\nu,tea,2026-03-01Z\n",
            "must have a time of day and a zone, as in 2024-05-31T",
        ),
        (
            "user_id,product_id,occurred_at\n266079.0,tea,1700000000\n",
            "user_id looks like a number .* not '266079.0'",
        ),
        (
            "user_id,product_id,occurred_at\nu,1e+17,1700000000\n",
            "product_id looks like a number .* not '1e\\+17'",
        ),
        (
            "user_id,product_id,occurred_at\nNULL,tea,1700000000\n",
            "user_id must be 1 to 128 bytes of UTF-8, not 'NULL'",
        ),
        (
            "user_id,product_id,occurred_at,store_id\nu,tea,1700000000,7.0\n",
            "store_id looks like a number",
        ),
        (
            "user_id,product_id,occurred_at,event_id\nu,tea,1700000000,7.0\n",
            "event_id looks like a number",
        ),
        (
            'user_id,product_id,occurred_at,text\nu,tea,1700000000,"a\nu,tea,1700000001,"b"\n',
            "line 2: a text in double q",
        ),
        (
            "user_id,product_id,occurred_at\nu,tea,1700000000\nu,tea\nu,tea,1700000000\n",
            "line 3: 2 values for 3 columns",
        ),
        (
            "user_id,product_id,occurred_at\nu,tea,yesterday\n",
            "occurred_at must be like 2024-05-31T18:00:00Z",
        ),
        (
            "user_id,product_id,occurred_at\nu,tea,2024-05-31 18:00\n",
            "has no time zone: end it with Z",
        ),
        (
            "user_id,product_id,occurred_at\nu,tea,1700000000000\n",
            "line 2: occurred_at is in milliseconds: divide it by 1000, not '1700000000000'",
        ),
        ("user_id,product_id,occurred_at\nu,tea,nan\n", "occurred_at is missing"),
        ("user_id,product_id,occurred_at\n,tea,1700000000\n", "user_id must be 1 to 128 bytes"),
        (
            "user_id,product_id,occurred_at,kind\nu,tea,1700000000,buy\n",
            "kind must be one of purchase, view",
        ),
        (
            "user_id,product_id,occurred_at,rating\nu,tea,1700000000,7\n",
            "rating must be from 1 to 5, not '7'",
        ),
        (
            "user_id,product_id,occurred_at,quantity\nu,tea,1700000000,3 EUR\n",
            "quantity must be a number, not '3 EUR'",
        ),
        ("user_id,user_id,occurred_at\nu,tea,1700000000\n", "two columns have the same name"),
        (
            'user_id,product_id,occurred_at\nu,"te"a,1700000000\n',
            "line 2: no CSV: ',' expected after",
        ),
        (
            b"user_id,product_id,occurred_at\nu,t\xe9,1700000000\n",
            "line 2: not UTF-8: Latin-1 or Windows-1252, .* iconv .*, not 'byte 0xe9'",
        ),
        ("", "events.csv: there are no rows in it"),
        ("user_id,product_id,occurred_at\n", "events.csv: there are no rows in it"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    save: Save, events: str | bytes, message: str
) -> None:
    with pytest.raises(table.TableError, match=message):
        load(save, events, strict=True)
    try:
        text = str(load(save, events).report)
    except table.TableError as error:  # most of the file is so
        text = str(error)
    assert re.search(re.sub(r"^line \d: ", "", message), text)


def test_a_product_row_that_is_wrong(save: Save) -> None:
    with pytest.raises(
        table.TableError,
        match=r"products.csv, line 2: available must be true or false, not 'maybe'",
    ):
        load(save, products="product_id,title,available\ntea,Tea,maybe\n", strict=True)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(table.TableError, match=r"nothing.csv: no such file"):
        table.load(tmp_path / "nothing.csv", tmp_path / "nothing.csv")


ROWS = "user_id,product_id,occurred_at\nu1,tea,1700000000\nu2,mug,1700000001\n"


@pytest.mark.parametrize("end", ["u3,te", "u3,tea,17000", 'u3,"tea', "u3,t\xc3\xa9"])
def test_a_cut_off_last_line_is_left_out(save: Save, end: str) -> None:
    data = load(save, ROWS.encode() + end.encode("latin-1")[: -1 if "\xa9" in end else None])
    assert len(data.user) == 2 and data.left_out == {CUT: 1}


def test_a_last_line_without_line_end_counts(save: Save) -> None:
    data = load(save, ROWS + "u3,tea,1700000002")
    assert len(data.user) == 3 and not data.left_out


def test_a_cut_off_gzip_file(save: Save) -> None:
    rng = np.random.default_rng(0)
    lines = [f"u{n},tea,{1_700_000_000 + n}\n" for n in rng.integers(0, 1 << 20, 50_000)]
    whole = gzip.compress(("user_id,product_id,occurred_at\n" + "".join(lines)).encode())
    data = table.load(save("e.csv.gz", whole[: len(whole) // 2]), save("p.csv", PRODUCTS))
    assert 0 < len(data.user) < len(lines) and data.left_out[CUT] == 1


def _zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as file:
        file.write(content)
    return bytes(sink.getvalue())


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, _zstd])
def test_of_a_file_that_is_cut_off_all_is_read_that_can_be_unpacked(
    save: Save, compress: Callable[[bytes], bytes]
) -> None:
    rng = np.random.default_rng(0)
    lines = [f"u{n},tea,{1_700_000_000 + n}\n" for n in rng.integers(0, 1 << 20, 80_000)]
    whole = compress(("user_id,product_id,occurred_at\n" + "".join(lines)).encode())
    data = table.load(save("e.csv.x", whole[:-9]), save("p.csv", PRODUCTS))
    assert len(data.user) > 30_000 and data.left_out.pop(CUT) == 1


SMALL = "user_id,product_id,occurred_at\n" + "".join(
    f"u{n},tea,{1_700_000_000 + n}\n" for n in range(300)
)


def test_a_small_file_that_is_cut_off_keeps_the_rows_before(save: Save) -> None:
    data = table.load(
        save("e.csv.gz", gzip.compress(SMALL.encode())[:-20]), save("p.csv", PRODUCTS)
    )
    assert 200 < len(data.user) < 300 and data.left_out == {CUT: 1}


def test_a_file_of_which_nothing_can_be_unpacked_is_told_so(save: Save) -> None:
    only_block = save("e.csv.zst", _zstd(SMALL.encode())[:-4])
    with pytest.raises(table.TableError, match=r"e.csv.zst: it is broken off, and nothing of it"):
        table.load(only_block, save("p.csv", PRODUCTS))


def test_gzip_that_is_none(save: Save) -> None:
    # a name says nothing
    assert len(table.load(save("e.csv.gz", ROWS), save("p.csv", PRODUCTS)).user) == 2
    damaged = bytearray(gzip.compress(ROWS.encode() * 1000))
    damaged[40:60] = b"x" * 20
    with pytest.raises(
        table.TableError, match=r"^[^:]*e.csv.gz: it cannot be read \(.*: copy or download it again"
    ):
        table.load(save("e.csv.gz", bytes(damaged)), save("p.csv", PRODUCTS))


def test_excel_saves_with_a_mark_and_crlf(save: Save) -> None:
    assert len(load(save, b"\xef\xbb\xbf" + ROWS.replace("\n", "\r\n").encode()).user) == 2


def test_typed_parquet(tmp_path: Path, save: Save) -> None:
    moment = datetime(2024, 5, 31, 18, tzinfo=UTC)
    columns = {
        "user_id": [1, 2],
        "product_id": pa.array(["tea", "mug"]).dictionary_encode(),
        "occurred_at": pa.array([moment, moment], pa.timestamp("ns", "UTC")),
        "rating": [float("nan"), 5.0],
        "kind": ["view", "review"],
    }
    path = tmp_path / "e.parquet"
    pq.write_table(pa.table(columns), path)
    data = table.load(path, save("p.csv", PRODUCTS))
    assert data.users == ["1", "2"] and set(data.time.tolist()) == {int(moment.timestamp())}
    assert data.sentiment is not None and data.sentiment.tolist() == [0, 1]
    columns["user_id"] = [1.0, 2.0]
    pq.write_table(pa.table(columns), path)
    with pytest.raises(
        table.TableError,
        match=r"e.parquet, row 1: user_id must be text or a whole number: .* '1.0'",
    ):
        table.load(path, save("p.csv", PRODUCTS), strict=True)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(table.TableError, match=r"e.parquet: .*[Pp]arquet"):
        table.load(path, save("p.csv", PRODUCTS))


LINES = 200_000


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_large_files_are_streamed(
    tmp_path: Path, save: Save, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(parquet, "BATCH", 512)
    path, products, done = tmp_path / f"events.{kind}", save("products.csv", PRODUCTS), [0]
    events = (Event(f"u{n % 1000}", "tea", 1_600_000_000 + n, Kind.VIEW) for n in range(LINES))
    table.write(Rows(events, []), path, tmp_path / "none.csv", tmp_path / "neither.csv")
    size = path.stat().st_size

    def progress(read: int, total: int | None) -> None:
        assert total == size + products.stat().st_size and read >= done[0]
        done[0] = read

    rows = iter(table.read(path, products, progress=progress).events)
    assert done == [0]
    next(rows)
    assert done[0] <= 65536
    assert sum(1 for _ in islice(rows, 150_000)) == 150_000
    tracemalloc.start()  # only now: it makes everything five times slower
    assert sum(1 for _ in rows) == LINES - 150_001
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert done[0] == size
    assert peak < 4 << 20  # of 50,000 events, which take 20 MiB


def test_progress_as_a_bar(save: Save) -> None:
    console = Console(force_terminal=True, width=100)
    with console.capture() as shown, files.bar(console, "reading") as progress:
        table.load(save("e.csv", EVENTS), save("p.csv", PRODUCTS), progress=progress)
    assert "reading" in shown.get()


def test_the_examples_in_the_documentation(save: Save) -> None:
    text = (Path(__file__).parents[3] / "docs" / "data.md").read_text()
    examples = [part.split("```")[0] for part in text.split("```csv\n")[1:]]
    events, products, users = (save(f"{n}.csv", example) for n, example in enumerate(examples))
    data = table.load(events, products, users)
    assert (
        len(data.user) == 5
        and len(data.products) == 5
        and len(data.baskets) == 1
        and not data.left_out
    )
    assert data.profile("u1") == "likes tea. age 45-54. city Oslo"
    assert all(
        f"`{column}`" in text
        for column in (*table.EVENT_COLUMNS, *table.PRODUCT_COLUMNS, *table.USER_COLUMNS)
    )
