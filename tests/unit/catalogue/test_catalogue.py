import numpy as np

from pprm.catalogue.catalogue import Catalogue, Product, groups
from pprm.core.ids import stable_hash


def product(name: str, **changes: object) -> Product:
    return Product(name, **({"text": "", "type": "t", "category": "c", "maker": "m"} | changes))  # type: ignore[arg-type]


def vectors(*values: float) -> np.ndarray:
    return np.array([[value, value] for value in values], np.float32)


def test_rows_stay_when_a_product_changes_or_is_withdrawn() -> None:
    catalogue = Catalogue(2)
    catalogue.put([product("a"), product("b")], vectors(1, 2))
    catalogue.put([product("a", type="other", available=False), product("c")], vectors(3, 4))
    catalogue.withdraw(["b", "never seen"])
    assert catalogue.ids == ["a", "b", "c"] and catalogue.vectors[:, 0].tolist() == [3, 2, 4]
    assert catalogue.available.tolist() == [False, False, True]
    assert catalogue.type.tolist() == [1, 0, 0] and catalogue.hashes[1] == stable_hash("b")


def test_rows_by_hash() -> None:
    catalogue = Catalogue(2)
    catalogue.put([product(str(i)) for i in range(3000)], np.zeros((3000, 2), np.float32))
    wanted = np.array([stable_hash("2999"), stable_hash("unknown"), stable_hash("0")], np.uint64)
    assert catalogue.rows(wanted).tolist() == [2999, -1, 0]


def test_the_version_tells_what_changed() -> None:
    catalogue = Catalogue(2)
    catalogue.put([product("a"), product("b")], vectors(1, 2))
    before = catalogue.version
    catalogue.put([product("b", maker="other"), product("a"), product("c")], vectors(2, 1, 3))
    assert catalogue.version > before and catalogue.changed_since(before).tolist() == [1, 2]
    before = catalogue.version
    catalogue.put([product("c"), product("b", maker="other")], vectors(3, 2))  # a new price, say
    assert catalogue.version == before
    for changes, vector in (
        ({"type": "x"}, 1),
        ({"type": "x"}, 5),
        ({"type": "x", "available": False}, 5),
    ):
        before = catalogue.version
        catalogue.put([product("a", **changes)], vectors(vector))
        assert catalogue.version > before and catalogue.changed_since(before).tolist() == [0]
    before = catalogue.version
    catalogue.withdraw(["a"])
    assert catalogue.version > before and not len(catalogue.changed_since(before))


def test_type_and_category_of_a_path() -> None:
    assert groups(["FOOD", "BREAD", "RYE"], "x") == ("RYE", "BREAD")
    assert groups(["FOOD"], "x") == ("FOOD", "FOOD") and groups([], "x") == ("x", "x")
