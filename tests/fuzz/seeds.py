"""Writes the corpus: `python -m tests.fuzz.seeds`.

What a fuzzer has found goes there by hand, with a telling name.
"""

import json
import struct
from pathlib import Path

from msgspec.structs import replace

from pprm.core.events import ACTS, Interaction, Kind, Position, Profile
from pprm.state import user_state
from pprm.state.fold import fold
from pprm.state.user_state import INTERACTION, UserState
from tests.fuzz.targets import CORPUS, FAMILIES, NOW

AT = "2026-01-02T03:04:05Z"
EVENT = {"event_id": "e", "user_id": "u", "product_id": "p", "occurred_at": AT}
MESSAGES = {
    "purchases": EVENT | {"quantity": 2, "price": 1.5, "basket_id": "b", "store_id": "s",
    "attributes": {"a": "b"}},
    "browses": EVENT | {"action": "view", "dwell_seconds": 3.5},
    "reviews": EVENT | {"rating": 4, "text": "not bad at all!", "sentiment": -0.5},
    "users": {"user_id": "u", "updated_at": AT, "text": "likes tea",
    "attributes": {"age": "45-54"}},
    "requests": {"request_id": "r", "user_id": "u", "occurred_at": AT},
    "products": {
        "product_id": "p", "title": "Rye", "categories": ["BREAD", "RYE"], "brand": "B",
        "available": True,
        "promotions": [{"store_id": "s", "until": AT}], "vector": [0.5, -1, 1e6],
    },
}  # fmt: skip


def events() -> dict[str, bytes]:
    """A good value of each family, and the kinds of damage that are refused."""
    seeds = {
        name: bytes([FAMILIES.index(name)]) + json.dumps(value).encode()
        for name, value in MESSAGES.items()
    }
    seeds |= {f"{name}-null": bytes([FAMILIES.index(name)]) for name in FAMILIES}
    seeds["review-text"] = (
        b"\x02" + json.dumps(EVENT | {"text": "I LOVE it :) but... \U0001f600 no!!"}).encode()
    )
    seeds["huge-numbers"] = (
        b"\x00" + json.dumps(EVENT | {"price": 2**64, "quantity": 10**400}).encode()
    )
    seeds["id-beyond-64-bit"] = b"\x00" + json.dumps(EVENT | {"user_id": 2**64}).encode()
    seeds["no-number"] = b"\x00" + json.dumps(EVENT | {"price": float("nan")}).encode()
    seeds["deep"] = b"\x00" + b"[" * 5000
    seeds["deep-in-unknown-field"] = (
        b"\x00" + json.dumps(EVENT)[:-1].encode() + b',"x":' + b'{"y":' * 900
    )
    seeds["half-a-surrogate"] = b"\x03" + rb'{"user_id":"u","text":"\ud800"}'
    seeds["return"] = (
        b"\x00" + json.dumps(EVENT | {"kind": "return", "quantity": -1, "price": -2.5}).encode()
    )
    seeds["none-bought"] = b"\x00" + json.dumps(EVENT | {"quantity": 0}).encode()
    seeds["dislike"] = b"\x01" + json.dumps(EVENT | {"action": "dislike"}).encode()
    seeds["not-utf-8"] = b"\x00\xff\xfe{}"
    seeds["far-future"] = b"\x43" + struct.pack("<q", 2**62) + b"12345678" + b'{"user_id":"u"}'
    seeds["foreign-key"] = b"\x80" + b"k" * 40 + json.dumps(EVENT).encode()
    seeds["oversize"] = b"\x00" + b" " * 65_537
    return seeds


def states() -> dict[str, bytes]:
    """Small, usual and full states."""

    def bought(n: int, text: str = "") -> UserState:
        at = [int(NOW) - 86_400 * (n - i) // 4 for i in range(n)]
        events = [
            Interaction(Position(0, 1, i), Kind.PURCHASE, i + 1, at[i], i // 3 + 1)
            for i in range(n)
        ]
        viewed = [
            Interaction(
                Position(1, 1, i, log=7),
                ACTS[i % 6],
                i + 1,
                at[i],
                sentiment=0.5,
                fingerprint=i + 1,
            )
            for i in range(n)
        ]
        words = [
            Interaction(Position(2, 1, 0), Kind.HIDE, n + 1, at[-1]),
            Profile(Position(3, 1, 0), at[-1], text),
        ]
        back = [
            Interaction(Position(0, 1, n + i), Kind.RETURN, i + 1, at[-1]) for i in range(n // 10)
        ]
        state = fold(UserState(), [*events, *viewed, *words, *back]).state
        return user_state.publish(state, range(n), state.active_at)

    forgotten = fold(bought(3), [Profile(Position(3, 1, 9), int(NOW), None)]).state
    made = {
        "empty": UserState(),
        "one": bought(1),
        "usual": bought(30, "age 45-54"),
        "forgotten": forgotten,
    }
    good = {name: user_state.encode(state) for name, state in made.items()}
    return good | {"a-purchase-far-ahead": _purchase_far_ahead(made["usual"])}


def _purchase_far_ahead(state: UserState) -> bytes:
    """Found by fuzzing: decayed backwards from 2095 it made everybody's popularity infinite."""
    sequence = bytearray(state.sequence)
    struct.pack_into("<I", sequence, 12 * INTERACTION.size + 8, 2**32 - 1)
    return user_state.encode(replace(state, sequence=bytes(sequence)))


def write(directory: Path, seeds: dict[str, bytes]) -> None:
    """One file a seed."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, data in seeds.items():
        (directory / name).write_bytes(data)


if __name__ == "__main__":
    write(CORPUS / "event", events())
    write(CORPUS / "state", states())
