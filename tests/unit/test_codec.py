from types import SimpleNamespace

import pytest

from pprm.events import Interaction, Kind
from pprm.ids import stable_hash
from worker import codec

GOOD = b'{"event_id":"e","user_id":"u","product_id":"p","occurred_at":"2026-01-02T03:04:05Z"%s}'
NOW = 1767323045.0


def record(value, key=b"u"):
    return SimpleNamespace(
        topic="t", partition=1, offset=7, timestamp=1_767_323_045_000, key=key, value=value, headers=()
    )


def test_purchase():
    decoded = codec.decode("purchases", record(GOOD % b""), NOW)
    assert decoded.event == Interaction((0, 1, 7), Kind.PURCHASE, stable_hash("p"), int(NOW))
    assert (decoded.user_id, decoded.event_id) == ("u", "e")


@pytest.mark.parametrize(
    ("value", "key", "reason"),
    [
        (b" " * (codec.MAX_VALUE_BYTES + 1), b"u", "oversize"),
        (GOOD % b"", None, "key"),
        (GOOD % b"", b"\xff", "key"),
        (GOOD % b"", b"other", "key"),
        (None, b"u", "tombstone"),
        (b"\xff", b"u", "encoding"),
        (b"{", b"u", "json"),
        (b"[" * 5000, b"u", "depth"),
        (GOOD % b',"price":NaN', b"u", "schema"),
        (b"{}", b"u", "schema"),
    ],
)
def test_refusals(value, key, reason):
    assert codec.decode("purchases", record(value, key), NOW).reason == reason


def test_future():
    assert codec.decode("purchases", record(GOOD % b""), NOW - codec.FUTURE_SECONDS - 1).reason == "future"


def test_null_user_is_forgotten():
    assert codec.decode("users", record(None), NOW).event.text is None
