"""Product vectors made elsewhere."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pprm.data import table

IDS = np.array(["a", "b"])
VECTORS = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path / "v.npz", **arrays)
    return path / "v.npz"


def parquet(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path / "v.parquet")
    return path / "v.parquet"


def check(path: Path, ids: tuple[str, str] = ("a", "b")) -> None:
    vectors = table.load_vectors(path)
    assert tuple(vectors) == ids
    assert all(vector.dtype == np.float32 for vector in vectors.values())
    assert np.array_equal(np.stack(list(vectors.values())), VECTORS)


def test_npz(tmp_path: Path) -> None:
    check(npz(tmp_path, product_id=IDS, vector=VECTORS))
    check(npz(tmp_path, product_id=np.array([7, 8]), vector=VECTORS.astype(int)), ("7", "8"))


def test_parquet(tmp_path: Path) -> None:
    check(parquet(tmp_path, product_id=IDS, vector=VECTORS.tolist()))
    check(
        parquet(tmp_path, product_id=[7, 8], x=VECTORS[:, 0], y=VECTORS[:, 1], z=VECTORS[:, 2]),
        ("7", "8"),
    )


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"product_id": IDS, "vector": VECTORS[:1]},
            r"2 product ids, but vectors of shape \[1, 3\]",
        ),
        ({"product_id": IDS, "vector": VECTORS[:, 0]}, "2 product ids, but vectors of shape"),
        (
            {"product_id": IDS, "vector": VECTORS * np.array([[1], [np.nan]])},
            "product 'b' has a value that is not fin",
        ),
        (
            {"product_id": IDS, "vector": VECTORS * 1e300},
            "product 'a' has a value that is not finite",
        ),
        ({"product_id": np.array(["a", "a"]), "vector": VECTORS}, "a product has two vectors"),
        ({"product_id": IDS}, "vector is not a file in the archive"),
        ({"product_id": np.array(["a", None]), "vector": VECTORS}, "allow_pickle=False"),
        ({"product_id": IDS, "vector": np.array([["x"], ["y"]])}, "must be numbers"),
        ({"product_id": IDS, "vector": np.zeros((2, 0))}, "shape"),
    ],
)
def test_npz_that_is_wrong(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(table.TableError, match=message):
        table.load_vectors(npz(tmp_path, **arrays))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"product_id": IDS, "vector": [[1.0], [1.0, 2.0]]}, "different dimensions"),
        ({"product_id": [1.0, 2.0], "x": [1.0, 2.0]}, "text or a whole number"),
        ({"product_id": IDS, "x": ["1", "2"]}, "must be numbers"),
        ({"x": [1.0]}, "product_id"),
        ({"product_id": IDS}, "shape"),
    ],
)
def test_parquet_that_is_wrong(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    with pytest.raises(table.TableError, match=message):
        table.load_vectors(parquet(tmp_path, **columns))


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(table.TableError, match="No such file"):
        table.load_vectors(tmp_path / "v.npz")
    (tmp_path / "v.npz").write_bytes(b"PK nothing")
    with pytest.raises(table.TableError, match=r"v.npz"):
        table.load_vectors(tmp_path / "v.npz")


def test_ids_of_bytes_are_text_whatever_the_files_name(tmp_path: Path) -> None:
    path = parquet(tmp_path, product_id=[b"7", b"8"], vector=VECTORS.tolist())
    check(path.rename(tmp_path / "vectors.bin"), ("7", "8"))
