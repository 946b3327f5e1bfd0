"""What `pprm repartition` moves: only what lies where its key belonged."""

from hypothesis import given
from hypothesis import strategies as st

from worker.cli.repartition import Homes
from worker.kafka.partitioner import partition_of


@given(st.binary(min_size=1, max_size=20), st.integers(1, 9), st.integers(0, 9))
def test_a_key_moves_from_its_old_home_to_its_new_one_and_from_nowhere_else(
    key: bytes, before: int, more: int
) -> None:
    homes = Homes("murmur2", before, before + more)
    old, new = (partition_of("murmur2", key, count) for count in (before, before + more))
    targets = {partition: homes.target(key, partition) for partition in range(before + more)}
    assert targets.pop(old) == (None if old == new else new)
    assert set(targets.values()) <= {None}, "what lies elsewhere is no state of the shopper's"
