from pathlib import Path

import pytest

from benchmarks import encode
from tests.benchmarks.reports import report


@pytest.mark.timeout(600)
def test_the_report_has_all_ways_of_reading(tmp_path: Path) -> None:
    found = report("encode", tmp_path)
    assert {"cpu, one at a time", "cpu, batched, as they come", "cpu, batched, by length"} <= found[
        "products"
    ].keys()
    assert all(
        rate > 0
        for rates in [*found["products"].values(), *found["lengths"].values()]
        for rate in rates
    )
    held = found["memory"]
    assert (
        held["before_bytes"] < held["loaded_bytes"] <= held["peak_bytes"]
        and held["bytes_per_text_known"] > 0
    )


def test_texts_have_the_length_asked_for_and_differ() -> None:
    texts = encode.of_length(8, 5)
    assert len(set(texts)) == 5 and {len(text.split()) for text in texts} == {8}
