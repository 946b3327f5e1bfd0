"""A rule is one file: its settings, and what it hides or keeps."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pprm.serving import rules
from pprm.serving.rules.exclude_bought import ExcludeBought
from pprm.serving.rules.most_of_a_type import MostOfAType
from tests.unit.serving.test_scorer import NOW, make, shopper

ONLY_NEW = '''"""Only what the shopper never bought is shown."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from pprm.serving.rules.kinds import Mask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pprm.catalogue.catalogue import Catalogue
    from pprm.state.user_state import UserState


@dataclass(frozen=True, slots=True)
class OnlyNew(Mask):
    """Discovery: what they bought they find by themselves."""

    only_new: Annotated[bool, Field(description="show only what was never bought")] = False

    @property
    def applies(self) -> bool:
        """See `Rule`."""
        return self.only_new

    def hidden(
        self, state: "UserState", catalogue: "Catalogue", now: float
    ) -> "NDArray[np.uint64]":
        """See `Mask`."""
        return state.product_keys()


RULE = OnlyNew
'''


@pytest.fixture
def only_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A rule of one's own, in a folder that the package's modules are looked for in."""
    (tmp_path / "only_new.py").write_text(ONLY_NEW)
    monkeypatch.setattr(rules, "__path__", [*rules.__path__, str(tmp_path)])
    return tmp_path


def test_a_rule_of_ones_own(only_new: Path) -> None:
    scorer, state = make(200), shopper(4)
    bought = set(state.product_keys().tolist())
    for wanted, chosen in ((False, rules.of()), (True, rules.of(only_new=True))):
        (listed,) = scorer.recommend([state], [NOW], 200, chosen)
        assert bool(bought & set(scorer.catalogue.hashes[listed.rows].tolist())) is not wanted
        assert len(chosen.masks) == 1 + wanted
    sys.modules.pop("pprm.serving.rules.only_new")


def test_its_setting_is_one_of_the_workers(only_new: Path) -> None:
    script = (
        "from pprm.serving import rules\n"
        f"rules.__path__.append({str(only_new)!r})\n"
        "from worker import settings\n"
        "print(settings.load({'recommendations': {'only_new': True}}).recommendations.only_new)\n"
        "import sys\n"
        "print('numpy' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["True", "False"], "set, and commands start without numpy"


def test_settings_make_the_rules_that_ask_for_something() -> None:
    assert set(rules.settings()) == {"exclude_bought_days", "most_of_a_type"}
    made = rules.of(exclude_bought_days=7, most_of_a_type=2)
    assert made == rules.Rules((ExcludeBought(7),), (MostOfAType(2),))
    assert not rules.NO_RULES.picks, "nothing is sorted for a rule that nobody asked for"
    with pytest.raises(TypeError, match="no rule has the settings most_of_a_kind"):
        rules.of(most_of_a_kind=2)


def test_the_best_ones_of_a_type_stay() -> None:
    codes = np.array([[5, 0, 0], [1, 0, 0], [5, 1, 1], [5, 0, 0], [1, 2, 2]], np.int32)
    assert MostOfAType(2).kept(codes).tolist() == [True, True, True, False, True]
    assert MostOfAType(1).kept(codes[:0]).tolist() == []
