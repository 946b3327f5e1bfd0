"""The fuzz targets on their corpus and on a few seconds of blind damage to it.

`make fuzz` is the long run.
"""

import random
import time
from pathlib import Path

import pytest

from tests.fuzz import seeds
from tests.fuzz.targets import CORPUS, TARGETS, record_of

SECONDS = 2.0
FILES = sorted(path for path in CORPUS.rglob("*") if path.is_file())
WORDS = [
    b"\xff\xff\xff\xff",
    b"\0\0\xc0\x7f",
    b"\0\0\0\0\0\0\xf0\x7f",
    b"1e999",
    b"null",
    b"{",
    b'"',
    b"\\ud800",
    b"[[",
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_the_corpus_holds(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


def test_the_corpus_has_all_seeds() -> None:
    for target, made in (("event", seeds.events()), ("state", seeds.states())):
        for name, data in made.items():
            assert (CORPUS / target / name).read_bytes() == data, "run `python -m tests.fuzz.seeds`"


def test_flags_of_a_record_leave_its_family_and_its_value() -> None:
    family, record = record_of(seeds.events()["far-future"])
    assert (family, record.timestamp, record.value) == ("users", 2**62, b'{"user_id":"u"}')


@pytest.mark.parametrize("target", TARGETS)
def test_blind_damage_holds(target: str) -> None:
    chance, corpus = (
        random.Random(0),
        [path.read_bytes() for path in FILES if path.parent.name == target],
    )
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        data = bytearray(chance.choice(corpus))
        for _ in range(chance.randint(1, 3)):
            _damage(data, chance)
        try:
            TARGETS[target](bytes(data))
        except Exception as error:
            raise AssertionError(f"{target}: {bytes(data[:4000])!r}") from error


def _damage(data: bytearray, chance: random.Random) -> None:
    at = chance.randint(0, len(data))
    what = chance.randrange(4)
    if what == 0 and data:
        data[at % len(data)] ^= 1 << chance.randrange(8)
    elif what == 1:
        data[at : at + chance.randint(0, 40)] = b""
    else:
        word = chance.choice(WORDS)
        data[at : at + (len(word) if what == 2 else 0)] = word
