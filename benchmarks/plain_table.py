"""A Faust app as its documentation writes one, with a table of raw bytes.

`python -m benchmarks.plain_table SETTINGS`.

Recovers the table from its changelog, writes how long it took to the file `report`, and ends.
"""

import json
import os
import signal
import sys
from pathlib import Path
from time import monotonic
from typing import Any

import faust

from worker.demo.processes import seconds_since_start


def main() -> None:
    """Run until the table is recovered; the argument is JSON.

    Its fields are app_id, broker, directory, partitions, topic and report.
    """
    chosen = json.loads(sys.argv[1])
    app = faust.App(
        chosen["app_id"], broker=f"kafka://{chosen['broker']}", store="rocksdb://?driver=rocksdict",
        datadir=chosen["directory"], topic_partitions=chosen["partitions"],
        topic_allow_declare=False,
        topic_disable_leader=True, web_enabled=False, broker_session_timeout=6,
        broker_heartbeat_interval=1,
    )  # fmt: skip
    raw = faust.Schema(
        key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
    )
    app.Table(
        "user_state", partitions=chosen["partitions"], schema=raw, key_type=bytes, value_type=bytes
    )
    assigned_at = 0.0

    @app.agent(app.topic(chosen["topic"], schema=raw))  # type: ignore[untyped-decorator]
    async def nothing(stream: Any) -> None:
        async for _ in stream:
            pass

    async def assigned(*_: Any, **__: Any) -> None:
        nonlocal assigned_at
        assigned_at = monotonic()

    async def recovered(*_: Any, **__: Any) -> None:
        seconds = monotonic() - assigned_at
        found = {
            "recovery_seconds": seconds,
            "table_seconds": seconds,
            "ready_seconds": seconds_since_start(),
        }
        Path(chosen["report"]).write_text(json.dumps(found))
        os.kill(os.getpid(), signal.SIGTERM)

    app.on_partitions_assigned.connect(assigned, weak=False)
    app.on_rebalance_complete.connect(recovered, weak=False)
    faust.Worker(app, loglevel="WARNING", quiet=True).execute_from_commandline()


if __name__ == "__main__":
    main()
