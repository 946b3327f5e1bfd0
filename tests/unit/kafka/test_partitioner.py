"""The partitioners against the clients'.

Vectors of Kafka's and librdkafka's own tests, and aiokafka's function.
"""

import random

import pytest
from aiokafka.partitioner import murmur2

from worker.kafka.partitioner import for_producer, partition_of
from worker.kafka.placement import homes
from worker.settings import Partitioner

# https://github.com/apache/kafka/blob/trunk/clients/src/test/java/org/apache/kafka/common/utils/UtilsTest.java
OF_KAFKA = {
    b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}  # fmt: skip
# https://github.com/confluentinc/librdkafka/blob/master/tests/0048-partitioner.c
OF_LIBRDKAFKA = {
    b"23456": 0xB1B451D7,
    b"this is another string with more length to it perhaps": 0xB0150DF7,
}
KEYS = [random.Random(3).randbytes(length) for length in range(1, 130)] + [
    f"u{i}".encode() for i in range(500)
]
NAMES: list[Partitioner] = ["murmur2", "consistent_random"]


def test_murmur2_is_that_of_the_java_client() -> None:
    for key, said in OF_KAFKA.items():
        assert partition_of("murmur2", key, 1 << 31) == said & 0x7FFFFFFF
    assert homes("murmur2", KEYS, 97).tolist() == [(murmur2(key) & 0x7FFFFFFF) % 97 for key in KEYS]


def test_consistent_random_is_that_of_librdkafka() -> None:
    for key, said in OF_LIBRDKAFKA.items():
        assert partition_of("consistent_random", key, 1 << 32) == said


@pytest.mark.parametrize("name", NAMES)
def test_one_key_and_many_and_the_producer_agree(name: Partitioner) -> None:
    found, choose = homes(name, KEYS, 6).tolist(), for_producer(name)
    assert found == [partition_of(name, key, 6) for key in KEYS]
    assert found == [choose(key, list(range(6)), None) for key in KEYS]
    assert homes(name, [], 6).tolist() == []
