"""Columns are known by name: where a name goes, its numbers go.

The package is copied, and changed as an edit would change it. The copy's loops are plain Python:
that takes a second, compiling them a minute.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pprm
from pprm.core.feature_groups import FeatureGroup, Layout
from pprm.ranking.candidate_features import LAYOUT
from pprm.retrieval.features import PAIR, SCALARS

ROOT = Path(__file__).parents[3]
PLAIN = '''"""Loops as plain Python."""
from warnings import filterwarnings
import numpy as np
filterwarnings("ignore")
LOOPS = []

def compiled(function):
    return function

part = compiled

def record(fields):
    return np.dtype((np.record, fields))

def is_missing(loop, types):
    return False
'''

SWAPS = {
    "retrieval/features.py": [
        ('"count", "decay7"', '"decay7", "count"'),
        ('"recent28", "due"', '"due", "recent28"'),
        ('"rate112", "seen")', '"seen", "rate112")'),
        ('"due_distance",\n    "per_basket",', '"per_basket",\n    "due_distance",'),
        ('"log_rate",\n    "seen",', '"seen",\n    "log_rate",'),
        ('MAKER = ("count", "decay112")', 'MAKER = ("decay112", "count")'),
        (
            'SHARE = ("product_of_type", "type_of_category")',
            'SHARE = ("type_of_category", "product_of_type")',
        ),
        ('"purchases",\n    "baskets",', '"baskets",\n    "purchases",'),
        ('"weekly_phase",\n    "sentiment",', '"sentiment",\n    "weekly_phase",'),
        (
            'FeatureGroup("type", GROUP),\n        FeatureGroup("category", GROUP),',
            'FeatureGroup("category", GROUP),\n        FeatureGroup("type", GROUP),',
        ),
        (
            'FeatureGroup("maker", MAKER),\n        FeatureGroup("share", SHARE),',
            'FeatureGroup("share", SHARE),\n        FeatureGroup("maker", MAKER),',
        ),
    ],
    "catalogue/popularity.py": [('"month", "all", "trend"', '"all", "trend", "month"')],
    "catalogue/promotions.py": [
        ('CHANGING = ("mailer", "display")', 'CHANGING = ("display", "mailer")'),
        ('AT_STORE = ("display", "mailer"', 'AT_STORE = ("mailer", "display"'),
    ],
    "ranking/basket_patterns.py": [
        ('"of_5", "of_10"', '"of_10", "of_5"'),
        ('"same_weekday", "same_daypart", "same', '"same_daypart", "same_weekday", "same'),
        ('"hour", "weekday", "since",', '"since", "weekday", "hour",'),
    ],
    "ranking/browsing.py": [
        ('COUNTED = ("session", "today"', 'COUNTED = ("today", "session"'),
        ('"recency", "type_week", "type_cart"', '"type_cart", "type_week", "recency"'),
    ],
    "ranking/slow_tables.py": [('("hazard", "type_hazard"))', '("type_hazard", "hazard"))')],
    "ranking/candidate_features.py": [
        ('"logit", "log_rank", "log_rank_in_type"', '"log_rank", "logit", "log_rank_in_type"'),
        ('OWN = ("own_mailer", "own_display")', 'OWN = ("own_display", "own_mailer")'),
        ('(*promotions.SHARES, *AT_STORE, *OWN)', '(*OWN, *AT_STORE, *promotions.SHARES)'),
        ('(*OF_TYPE, "type_products")', '("type_products", *OF_TYPE)'),
        ('"share_28", "share_112"))', '"share_112", "share_28"))'),
        ('"first_week", "first_month"', '"first_month", "first_week"'),
        ('"day", "three_days"', '"three_days", "day"'),
        ("        TRIAL,\n        FAST,\n", "        FAST,\n        TRIAL,\n"),
    ],
}  # fmt: skip
"""Edits that move names, by the module that says their order."""

WEEKEND = '''"""The weekend, and how often a product was sold."""

import numpy as np
from numpy.typing import NDArray

from pprm.catalogue import popularity
from pprm.core.feature_groups import FeatureGroup
from pprm.ranking.known import Known


def fill(known: Known, out: NDArray[np.float32]) -> None:
    """Fill the group's columns of all candidates."""
    hashes = known.catalogue.hashes[known.candidates.rows]
    out[:, WEEKEND.at("weekend")] = int(known.now // 86_400 + 3) % 7 >= 5
    out[:, WEEKEND.at("sold")] = known.counts.counters(hashes)[:, [popularity.ALL]]


WEEKEND = FeatureGroup("weekend", ("weekend", "sold"), fill)
'''


def copy_of_pprm(folder: Path) -> Path:
    package = folder / "pprm"
    shutil.copytree(
        Path(pprm.__file__).parent,
        package,
        ignore=shutil.ignore_patterns("artifacts", "__pycache__"),
    )
    (package / "core" / "compiled.py").write_text(PLAIN)
    return package


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, (path.name, old)
    path.write_text(text.replace(old, new, 1))


def columns(folder: Path) -> dict[str, list[float]]:
    """What the copy of the package in a folder makes of a rich shopper."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.ranking.rich_shopper"], cwd=folder, check=True,
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": f"{folder}:{ROOT}"},
    )  # fmt: skip
    made: dict[str, list[float]] = json.loads(done.stdout)
    return made


@pytest.fixture(scope="module")
def as_it_is(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    folder = tmp_path_factory.mktemp("as-it-is")
    copy_of_pprm(folder)
    return columns(folder)


def test_the_shopper_shows_every_column(as_it_is: dict[str, list[float]]) -> None:
    assert not {name for name, values in as_it_is.items() if not any(values)}


@pytest.mark.parametrize("module", SWAPS)
def test_where_a_name_goes_its_numbers_go(
    module: str, tmp_path: Path, as_it_is: dict[str, list[float]]
) -> None:
    package = copy_of_pprm(tmp_path)
    for old, new in SWAPS[module]:
        replace(package / module, old, new)
    moved = columns(tmp_path)
    assert list(moved) != list(as_it_is)
    assert moved == as_it_is


def test_a_feature_group_of_ones_own(tmp_path: Path, as_it_is: dict[str, list[float]]) -> None:
    package = copy_of_pprm(tmp_path)
    (package / "ranking" / "weekend.py").write_text(WEEKEND)
    features = package / "ranking" / "candidate_features.py"
    replace(features, "        MOMENT,\n    )", "        MOMENT,\n        WEEKEND,\n    )")
    replace(features, "\nRETRIEVAL", "\nfrom pprm.ranking.weekend import WEEKEND\n\nRETRIEVAL")
    made = columns(tmp_path)
    assert list(made)[: len(LAYOUT.names)] == list(LAYOUT.names)
    assert {name: made[name] for name in as_it_is} == as_it_is, "the others are as they were"
    assert sum(made["weekend.sold"]) > 0 and set(made["weekend.weekend"]) <= {0, 1}


def test_positions_follow_from_names() -> None:
    layout = Layout((FeatureGroup("a", ("x", "y")), FeatureGroup("b", ("z", "x", "w"))), "_")
    assert layout.names == ("a_x", "a_y", "b_z", "b_x", "b_w")
    assert layout.slices == {"a": slice(0, 2), "b": slice(2, 5)}
    assert list(layout.at("b", "w", "z")) == [4, 2]
    assert layout.run("b", ("x", "w")) == slice(3, 5)
    for made in (LAYOUT, PAIR):
        at = np.concatenate([made.at(group.name, *group) for group in made.groups])
        assert at.tolist() == list(range(len(made.names)))
    assert len(set(SCALARS)) == len(SCALARS)


def test_what_cannot_be_told_apart_or_does_not_lie_together_fails() -> None:
    with pytest.raises(ValueError, match="twice"):
        FeatureGroup("a", ("x", "x"))
    with pytest.raises(ValueError, match="same name"):
        Layout((FeatureGroup("a", ("x",)), FeatureGroup("a", ("y",))))
    with pytest.raises(ValueError, match="side by side"):
        FeatureGroup("a", ("x", "y", "z")).run(("x", "z"))
