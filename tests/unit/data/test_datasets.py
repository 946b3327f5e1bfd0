"""A data set is one module: its name, its files and, if it has one, its plan are in it."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import typer

import pprm.data
from pprm.core import named_modules
from pprm.data import DATASETS, plan
from pprm.data.files import TableError
from pprm.data.plan import Plan, Split
from pprm.data.source import Source, read
from worker.cli.options import source_of

MYSHOP = '''"""My shop: a CSV file of what was bought, `shopper,item,at`."""

from pathlib import Path

from pprm.core.events import Kind
from pprm.data.cells import identity, seconds
from pprm.data.dataset import Dataset, ShopProduct
from pprm.data.files import OnProgress, Reading, parsed, silent
from pprm.data.rows import Event, Rows, collect
from pprm.data.text_files import Lines, csv_records, needs

NAME = "myshop"
FILES = ("bought.csv",)


def load(path: Path, progress: OnProgress = silent, strict: bool = False) -> Dataset:
    """Read the file."""
    reading = Reading([path], progress, strict)
    lines = Lines(path, reading)
    products: dict[str, ShopProduct] = {}

    def event(row: dict[str, str]) -> Event:
        item, shopper = identity("item", row["item"]), identity("shopper", row["shopper"])
        products[item] = ShopProduct(item, item, [], "", {}, available=True)
        return Event(shopper, item, seconds("at", row["at"]), Kind.PURCHASE)

    events = parsed(lines, csv_records(lines, needs("shopper", "item", "at")), event)
    return collect(NAME, Rows(events, products.values(), (), reading.report))
'''
BOUGHT = "shopper,item,at\n1,tea,2024-05-01T10:00:00Z\n1,milk,2024-05-01T10:00:00Z\n2,tea,oops\n"


@pytest.fixture
def myshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data set of one's own, in a folder that the package's modules are looked for in."""
    (tmp_path / "myshop.py").write_text(MYSHOP)
    (tmp_path / "bought.csv").write_text(BOUGHT)
    monkeypatch.setattr(pprm.data, "__path__", [*pprm.data.__path__, str(tmp_path)])
    yield tmp_path / "bought.csv"
    sys.modules.pop("pprm.data.myshop", None)


def test_a_data_set_of_ones_own(myshop: Path) -> None:
    assert "myshop" in DATASETS and DATASETS["myshop"].files == ("bought.csv",)
    data = read(source_of("myshop", [myshop]))
    assert (data.name, len(data.products), len(data.user)) == ("myshop", 2, 2)
    assert sum(data.left_out.values()) == 1


def test_what_it_is_read_from_is_said_where_the_files_are_wrong(
    myshop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(
        TableError, match=r"2 files are not what myshop is read from \(bought.csv\)"
    ):
        read(Source("myshop", (myshop, myshop)))
    with pytest.raises(typer.Exit):
        source_of("myshop", None)
    assert "myshop is read from bought.csv" in capsys.readouterr().err
    with pytest.raises(typer.Exit):
        source_of("complete-journey", [myshop])
    assert "complete-journey has no files" in capsys.readouterr().err


def test_a_data_set_has_its_own_plan_or_one_that_is_made(myshop: Path) -> None:
    data = read(Source("myshop", (myshop,)))
    with pytest.raises(plan.TooLittleData):
        plan.of(data)
    own = Plan(0, Split(10, 20, 1), Split(20, 30, 3), (0, 10, 20))
    assert plan.of(replace(data, plan=own)) is own


def test_all_there_are_are_found_by_their_modules_and_none_is_imported(tmp_path: Path) -> None:
    assert set(DATASETS) == {
        "complete-journey", "google-merchandise", "rees46", "table", "taobao", "yelp",
    }  # fmt: skip
    assert len(DATASETS) == 6
    with pytest.raises(KeyError):
        DATASETS["nowhere"]
    (tmp_path / "broken.py").write_text(
        'import nothing_of_that_name\n\nNAME = "broken"\nFILES = ("a",)\nSIZE = 1 + len(NAME)\n'
    )
    (tmp_path / "helper.py").write_text("NAME = 64\n")
    (found,) = named_modules.find([str(tmp_path)])
    assert (found.name, found.module, found.constants["FILES"]) == ("broken", "broken", ("a",))
