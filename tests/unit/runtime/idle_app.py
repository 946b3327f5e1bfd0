"""An app that is never started: what is made with it can be looked at without a broker."""

from pathlib import Path

from worker.runtime import app as runtime
from worker.runtime.app import RuntimeApp, StateTable
from worker.runtime.delivery import AtLeastOnce
from worker.runtime.listener import Nobody, RuntimeListener

CLIENT = {"bootstrap_servers": "127.0.0.1:9"}
TABLE = StateTable("user_state", 1, 64 << 20)
NOBODY = Nobody()


def idle_app(
    directory: Path,
    table: StateTable = TABLE,
    listener: RuntimeListener = NOBODY,
    instance_id: str | None = None,
) -> RuntimeApp:
    return runtime.create(
        "idle", CLIENT, directory, table=table, keyed=frozenset(), listener=listener,
        delivery=AtLeastOnce(CLIENT), accepts_lost_states=False, session_timeout=6,
        commit_interval=1, instance_id=instance_id,
    )  # fmt: skip
