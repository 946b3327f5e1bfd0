"""Files as they come: any compression and line end, damaged, cut, with rows that cannot be used."""

import bz2
import gzip
import io
import lzma
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pprm.core.events import Kind
from pprm.data import limits, rees46, table
from pprm.data.dataset import Dataset
from pprm.data.files import CUT, Reading, parsed
from pprm.data.reading_report import TableError, Unusable
from pprm.data.text_files import QUOTE, Lines, csv_records
from pprm.state.fold import fold
from pprm.state.user_state import UserState
from schemas.limits import MAX_ATTRIBUTES, MAX_CATEGORIES, MAX_NAME, MAX_SHORT
from schemas.products import Product
from schemas.reviews import Review
from schemas.users import User
from tests.unit.data.test_public import REES46

PRODUCTS = "product_id,title\ntea,Tea\nmug,Mug\n"
HEADER = "user_id,product_id,occurred_at\n"
ROWS = [f"u{n},tea,{1_700_000_000 + n}\n" for n in range(400)]
EVENTS = (HEADER + "".join(ROWS)).encode()


def arrow(codec: str) -> Callable[[bytes], bytes]:
    def compress(data: bytes) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, codec) as file:
            file.write(data)
        return bytes(sink.getvalue().to_pybytes())

    return compress


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress, "zstd": arrow("zstd"), "lz4": arrow("lz4"), "bzip2": bz2.compress,
    "xz": lzma.compress,
}  # fmt: skip


def read(
    tmp_path: Path, content: bytes, name: str = "events.csv", products: str = PRODUCTS
) -> Dataset:
    (tmp_path / name).write_bytes(content)
    (tmp_path / "products.csv").write_text(products)
    return table.load(tmp_path / name, tmp_path / "products.csv")


@pytest.mark.parametrize("name", ["events.csv", "events.GZ", "events.csv.zst", "events"])
@pytest.mark.parametrize("packed", PACKED)
def test_a_file_is_what_its_first_bytes_say(tmp_path: Path, packed: str, name: str) -> None:
    assert len(read(tmp_path, PACKED[packed](EVENTS), name).user) == 400


@pytest.mark.parametrize("packed", PACKED)
def test_two_compressed_parts_are_one_file(tmp_path: Path, packed: str) -> None:
    assert (
        len(
            read(
                tmp_path,
                PACKED[packed](EVENTS)
                + PACKED[packed]("".join(ROWS).replace("tea", "mug").encode()),
            ).user
        )
        == 800
    )


@pytest.mark.parametrize("packed", PACKED)
def test_compressed_data_that_was_broken_off_is_told(tmp_path: Path, packed: str) -> None:
    noise = "".join(
        f"u{hash(n) * 2654435761 % 2**32},tea,{1_700_000_000 + n}\n" for n in range(200_000)
    )
    whole = PACKED[packed]((HEADER + noise).encode())
    data = read(tmp_path, whole[: len(whole) * 3 // 4])
    assert 0 < len(data.user) < 200_000 and data.left_out[CUT] == 1
    assert "1: broken off: what came after it is missing" in str(data.report)


def test_a_bomb_is_read_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    sink = pa.OSFile(str(path), "wb")
    with pa.CompressedOutputStream(sink, "zstd") as file:
        file.write(EVENTS)
        for _ in range(300):
            file.write(b"x" * (1 << 20))  # one line of 300 MB in a few kilobytes
        file.write(b"\n" + ROWS[0].encode())
    sink.close()
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    lines = Lines(path, Reading([path]))
    rows = list(parsed(lines, csv_records(lines), dict))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(rows) == 401 and peak < 32 << 20
    assert lines.reading.report.left_out == {"a line of more than 4 MiB": 1}


@pytest.mark.parametrize("end", [b"\r", b"\r\n", b"\n"])
def test_line_ends(tmp_path: Path, end: bytes) -> None:
    assert len(read(tmp_path, EVENTS.replace(b"\n", end)).user) == 400


def tar(data: bytes) -> bytes:
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w:gz") as archive:
            info = tarfile.TarInfo("events.csv")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        return file.getvalue()


def zipped(data: bytes) -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("events.csv", data)
        return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped(EVENTS), "events.csv: this is a zip archive or a spreadsheet"),
        (tar(EVENTS), "events.csv: this is a tar archive"),
        (EVENTS.decode().encode("utf-16"), "events.csv: this is text in UTF-16: save it as CSV"),
        (
            gzip.compress(gzip.compress(EVENTS, mtime=0), mtime=0),
            "events.csv: this is gzip inside gzip: unpack it once",
        ),
        (b"Obj\x01avro", "events.csv: this is Avro: save it as CSV or parquet"),
        (b"", "events.csv: there are no rows in it"),
        (HEADER.encode(), "events.csv: there are no rows in it"),
        (gzip.compress(b"", mtime=0), "events.csv: there are no rows in it"),
    ],
)
def test_what_is_no_table_is_told(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(TableError, match=message):
        read(tmp_path, content)


def test_a_directory_is_a_directory(tmp_path: Path) -> None:
    with pytest.raises(
        TableError, match=r"is a directory: name the files in it.*; .*nothing.csv: no such file"
    ):
        table.load(tmp_path, tmp_path / "nothing.csv")


def test_rows_that_cannot_be_used_are_left_out_with_their_lines(tmp_path: Path) -> None:
    wrong = {
        10: "u,tea,yesterday\n",
        20: "u,tea\n",
        30: "u,tea,tomorrow\n",
        40: "u\xe9,tea,1700000000\n",
    }
    lines = [wrong.get(n, row) for n, row in enumerate(ROWS)]
    data = read(tmp_path, (HEADER + "".join(lines)).encode("latin-1"))
    assert len(data.user) == 396
    assert str(data.report).splitlines()[:5] == [
        f"{tmp_path}/events.csv: 400 rows read, 396 taken",
        "  left out 2: occurred_at must be like 2024-05-31T18:00:00Z, or seconds since 1970, not"
        " 'yesterday'"
        " (line 12, line 32)",
        "  left out 1: 2 values for 3 columns; put text that holds commas or line breaks into"
        " double quotes (line 22)",
        "  left out 1: not UTF-8: Latin-1 or Windows-1252, as older programs save it? Convert the"
        " file, e.g. by"
        " iconv -f WINDOWS-1252 -t UTF-8, not 'byte 0xe9' (line 42)",
        f"{tmp_path}/products.csv: 2 rows read, all taken",
    ]


def test_of_each_reason_the_first_places_are_named_and_reasons_are_bounded(tmp_path: Path) -> None:
    wrong = [f"u,tea{',' * (n % 50 + 2)}x\n" for n in range(200)]
    data = read(tmp_path, (HEADER + "".join(ROWS + wrong)).encode())
    text = str(data.report)
    assert (
        "left out 4: 4 values for 3 columns" in text
        and "(line 402, line 452, line 502, ...)" in text
    )
    assert data.left_out["other reasons"] == 120 and sum(data.left_out.values()) == 200


def test_a_file_of_which_most_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        TableError,
        match=r"events.csv: 201 of 400 rows cannot be used:\n  201: occurred_at must be like",
    ):
        read(tmp_path, (HEADER + "".join(ROWS[:199]) + "u,tea,never\n" * 201).encode())


def test_strict_refuses_the_first_row(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text(HEADER + "".join(ROWS) + "u,tea,never\n")
    (tmp_path / "p.csv").write_text(PRODUCTS)
    with pytest.raises(TableError, match=r"e.csv, line 402: occurred_at must be like"):
        table.load(tmp_path / "e.csv", tmp_path / "p.csv", strict=True)


@pytest.mark.parametrize("last", ["\n", ""])
def test_an_unclosed_quote_costs_its_own_row_only(tmp_path: Path, last: str) -> None:
    rows = [f"p{n},Title {n}" for n in range(400)]
    rows[1] = 'p1,"Title 1'
    products = "product_id,title\n" + "\n".join(rows) + last
    events = HEADER + "".join(f"u,p{n},{1_700_000_000 + n}\n" for n in range(400))
    data = read(tmp_path, events.encode(), products=products)
    assert len(data.products) == 399
    assert f"1: {QUOTE} (line 3)" in str(data.report)


fields = st.sampled_from(["a", "", 'x"y', "line\nbreak", "com,ma", "\r\n"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(st.tuples(fields, fields), min_size=1, max_size=8), st.integers(0, 7))
def test_what_stands_behind_an_unclosed_quote_is_read(
    tmp_path: Path, rows: Sequence[tuple[str, str]], at: int
) -> None:
    """Whole rows before it and simple rows after it are read as they are."""
    quoted = ['"{}","{}"\n'.format(*(field.replace('"', '""') for field in row)) for row in rows]
    path = tmp_path / "rows.csv"
    broken = [*quoted[:at], 'left,"open\n', *quoted[at:], *["plain,row\n"] * 3]
    path.write_bytes(("a,b\n" + "".join(broken)).encode())
    lines = Lines(path, Reading([path]))
    found = [row for row in csv_records(lines) if not isinstance(row, Unusable)]
    assert [tuple(row.values()) for row in found[: len(quoted[:at])]] == list(rows[:at])
    assert [tuple(row.values()) for row in found[-3:]] == [("plain", "row")] * 3


def test_a_price_that_cannot_be_used_costs_no_row(tmp_path: Path) -> None:
    path = tmp_path / "oct.csv"
    path.write_text("".join(REES46.splitlines(keepends=True)[:-1]).replace("33.20", "-33.20", 1))
    data = rees46.load(path)
    assert len(data.user) == 7 and not data.left_out
    assert "changed 1: price must be from 0 to 1e+09, not '-33.20' (line 2)" in str(data.report)
    assert data.products[0].price is None
    with pytest.raises(TableError, match=r"^[^:]*oct.csv, line 2: price must be from 0"):
        rees46.load(path, strict=True)


def test_returns_and_zero_quantities_do_not_refuse_a_file(tmp_path: Path) -> None:
    rows = (
        "quantity,user_id,product_id,occurred_at\n"
        "1,u,tea,1700000000\n"
        "-1,u,tea,1700000100\n"
        "0,u,tea,1700000200\n"
    )
    data = read(tmp_path, rows.encode())
    assert data.kind is not None and data.kind.tolist() == [Kind.PURCHASE, Kind.RETURN]
    assert data.left_out == {table.NONE_BOUGHT: 1}


def test_a_return_names_the_order_that_it_is_from(tmp_path: Path) -> None:
    """So that a model learns from the states that the worker has.

    And it is never a basket to be foretold.
    """
    rows = (
        "user_id,product_id,occurred_at,kind,basket_id\nu,tea,1700000000,,a\nu,tea,1700100000,,b\n"
        "u,tea,1700200000,return,a\nu,tea,1700300000,return,\nv,tea,1700400000,return,a\n"
    )
    data = read(tmp_path, rows.encode())
    assert [data.baskets[at] if at >= 0 else "" for at in map(data.basket_of, range(5))] == [
        "a",
        "b",
        "a",
        "",
        "",
    ]
    assert data.is_basket().tolist() == [True, True, False, False, False]
    state = fold(UserState(), data.interactions(0, 3)).state
    assert state.product_counters()["last"].tolist() == [1_700_100_000], (
        "the older one is taken back"
    )
    assert not fold(UserState(), data.interactions(0, 4)).state.purchases


def test_parquet_of_bytes_lists_and_dates(tmp_path: Path, save_parquet: Any) -> None:
    events = save_parquet(
        user_id=[b"u0", b"u1"], product_id=[b"tea", b"tea"], occurred_at=[1_700_000_000] * 2
    )
    shoes = {
        "product_id": [b"tea"],
        "title": ["Tea"],
        "categories": [["Sport", "Shoes"]],
        "tags": [["a", "b"]],
    }
    data = table.load(events, save_parquet(**shoes))
    assert data.users == ["u0", "u1"]
    assert data.products[0].categories == ["Sport", "Shoes"] and data.products[0].attributes == {
        "tags": "a, b"
    }
    days = save_parquet(user_id=["u"], product_id=["tea"], occurred_at=[date(2026, 3, 1)])
    with pytest.raises(
        TableError, match=r"a time of day and a zone, as in .*, not '2026-03-01' \(row 1\)"
    ):
        table.load(days, events)
    nested = save_parquet(product_id=["tea"], title=["Tea"], made=[{"in": "Japan"}])
    with pytest.raises(TableError, match="a cell holds a structure"):
        table.load(events, nested)


@pytest.fixture
def save_parquet(tmp_path: Path) -> Callable[..., Path]:
    number = iter(range(100))

    def save(**columns: Any) -> Path:
        path = tmp_path / f"{next(number)}.bin"  # its first bytes say that it is parquet
        pq.write_table(pa.table(columns), path)
        return path

    return save


def test_texts_are_cut_to_what_can_be_published(tmp_path: Path) -> None:
    head = [
        "product_id",
        "title",
        "description",
        "categories",
        "brand",
        *(f"a{n}" for n in range(40)),
        "n" * 70,
    ]
    path = " > ".join(["c" * 600] * 10)
    cells = ["tea", "t" * 600, "d" * 9000, path, "b" * 600, *(["x" * 600] * 41)]
    data = read(tmp_path, EVENTS, products=",".join(head) + "\n" + ",".join(cells) + "\n")
    product = data.products[0]._asdict()
    Product.model_validate({name: value for name, value in product.items() if value is not None})
    assert (len(product["title"]), len(product["categories"]), len(product["attributes"])) == (
        512,
        8,
        32,
    )
    assert "changed 1: title of more than 512 characters is cut (line 2)" in str(data.report)


def test_the_limits_are_those_of_the_topics() -> None:
    def most(model: Any, field: str) -> int:
        kinds = model.model_json_schema()["properties"][field]
        return int(
            next(kind for kind in [kinds, *kinds.get("anyOf", [])] if "x-kept-length" in kind)[
                "x-kept-length"
            ]
        )

    assert {most(Product, "title"), most(Product, "brand"), MAX_SHORT} == {limits.SHORT}
    assert {most(Product, "description"), most(Review, "text")} == {limits.LONG}
    assert most(User, "text") == limits.ABOUT
    assert (MAX_CATEGORIES, MAX_ATTRIBUTES, MAX_NAME) == (
        limits.CATEGORIES,
        limits.ATTRIBUTES,
        limits.NAME,
    )


def test_only_first_bytes_of_binary_formats_refuse_a_text(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    for name in ("ORCID", "BZhang", "SQLite", "7zip"):
        path.write_text(f"{name}\n1\n")
        assert list(csv_records(Lines(path, Reading([path])))) == [{name: "1"}]
