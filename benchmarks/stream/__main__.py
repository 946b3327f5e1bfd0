"""Events a second of the stream machinery, and of four other ways to do the same job.

`python -m benchmarks.stream [--quick] [--broker embedded|apache] [--report FILE]`; Apache Kafka is
where PPRM_TEST_KAFKA names it. `benchmarks.stream.job` says what the job is,
`benchmarks.stream.contenders` who does it. All use the same broker.

How it is measured: each run is a fresh process on a core of its own, broker and harness on the
other. It reads a topic that is full already. Both ends are seen from outside, in the output topic:
each record says which event it answers and when it was written. The clock starts where the first
`skip` events are answered (start, prefetch, warm-up), and stops with the last record. CPU time is
the process's, all threads, between the same moments. Contenders take turns, medians count. Plain
Faust gets fewer events, since only its rate matters; its states stay smaller, which favours it.

Every run is judged: the newest state and list of every shopper, and the offsets committed, against
the input.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple

from benchmarks import measure
from benchmarks.stream import broker, contenders
from benchmarks.stream.job import PARTITIONS, Expected, Job, events, expect, judge
from tests.integration.brokers import BROKERS, has_apache
from worker.kafka.partitioner import partition_of

NEEDS = {"quix": "quixstreams", "confluent": "confluent_kafka"}
RUN_SECONDS = 240
CPU_EVERY = 0.02
TICK = os.sysconf("SC_CLK_TCK")


class Size(NamedTuple):
    """Events of a run, and how many of them come before the clock starts."""

    events: int
    skip: int


FULL = {"plain_faust": Size(40_000, 8_000)}, Size(400_000, 100_000)
QUICK = {"plain_faust": Size(3_000, 1_000)}, Size(16_000, 6_000)


class Run(NamedTuple):
    """What a run came to."""

    rate: float
    """Events a second."""
    cpu: float
    """Microseconds of the process's CPU time an event."""


class Failed(RuntimeError):
    """A contender does not do the job; the message says how."""


def main() -> None:
    parser = measure.parser(__doc__)
    kinds = list(BROKERS)
    parser.add_argument(
        "--broker", choices=kinds, default=kinds[has_apache()], help="apache where it is there"
    )
    parser.add_argument(
        "--only", nargs="+", choices=list(contenders.CONTENDERS), metavar="NAME", help="contenders"
    )
    chosen = parser.parse_args()
    own, common = QUICK if chosen.quick else FULL
    names = chosen.only or list(contenders.CONTENDERS)
    sizes = {name: own.get(name, common) for name in names}
    rounds = 1 if chosen.quick else chosen.rounds
    environment = measure.environment(broker=chosen.broker, quick=chosen.quick, rounds=rounds)
    core = _share_cores()
    with (
        tempfile.TemporaryDirectory() as directory,
        BROKERS[chosen.broker](Path(directory)) as address,
    ):
        expected = {size: _feed(address, size) for size in set(sizes.values())}

        def measured(name: str) -> Run:
            return run(address, Path(directory), core, name, sizes[name], expected[sizes[name]])

        report = {**_report(sizes, rounds, measured), "environment": environment}
    _show(chosen.broker, report)
    measure.write(chosen.report, report)


def _share_cores() -> int:
    """Keep one core for the contender and take the others, for the broker too.

    Returns that core.
    """
    first, *others = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, others or [first])
    return first


def _feed(address: str, size: Size) -> dict[bytes, Expected]:
    """Publish the events; returns what they must come to."""
    broker.now(broker.create_topics(address, [_source(size)]))
    broker.now(broker.feed(address, _source(size), events(size.events)))
    return expect(broker.now(broker.read(address, _source(size))))


def _source(size: Size) -> str:
    return f"purchases-{size.events}"


def _report(sizes: Mapping[str, Size], rounds: int, run: Callable[[str], Run]) -> dict[str, Any]:
    failures: dict[str, str] = {}

    def attempt(name: str) -> Run | None:
        if name in failures:
            return None
        try:
            return run(name)
        except Failed as error:
            failures[name] = str(error)
            measure.console.print(f"{name}: {error}", style="red")
            return None

    for name in sizes:
        if name in NEEDS and not find_spec(NEEDS[name]):
            failures[name] = (
                f"skipped: {NEEDS[name]} is not installed, see the group `benchmarks` of"
                f" pyproject.toml"
            )
    taken = measure.in_turn({name: partial(attempt, name) for name in sizes}, rounds)
    runs = {
        name: [r for r in results if r] for name, results in taken.items() if name not in failures
    }
    rates = {name: measure.median([r.rate for r in results]) for name, results in runs.items()}
    cpu = {name: measure.median([r.cpu for r in results]) for name, results in runs.items()}
    others = [name for name in runs if name != "ours" and "ours" in runs]
    return {
        "contenders": {
            name: {
                "events_per_second": round(rates[name]),
                "spread": measure.spread([r.rate for r in results]),
                "cpu_us_per_event": round(cpu[name], 2), **sizes[name]._asdict(),
            }
            for name, results in runs.items()
        },
        "ratios": {name: round(rates["ours"] / rates[name], 3) for name in others},
        "cpu_ratios": {name: round(cpu[name] / cpu["ours"], 3) for name in others},
        "not_run": failures,
    }  # fmt: skip


def run(
    address: str,
    directory: Path,
    core: int,
    name: str,
    size: Size,
    expected: Mapping[bytes, Expected],
) -> Run:
    """Have one contender do the job once.

    Raises:
        Failed: it ended, was not done in time, or did it wrong.
    """
    group, source = f"{name}-{time.monotonic_ns()}", _source(size)
    changelog = contenders.changelog(name, group, source)
    job = Job(address, group, source, f"{group}-lists", changelog, str(directory / group))
    broker.now(broker.create_topics(address, _topics(name, job)))
    log = directory / f"{group}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), sys.executable, "-m", "benchmarks.stream.contenders", name,
            job.text()],
            stdout=out, stderr=subprocess.STDOUT, env=_environment(),
        )  # fmt: skip
    with _Cpu(process.pid) as cpu:
        try:
            _wait_until_committed(process, job, job.source, size.events, log)
            if name == "ours_rekeying":
                _wait_until_committed(process, job, rekeyed(job), elsewhere(expected), log)
        finally:
            _end(process)
    lists = broker.now(broker.read(address, job.output))
    states = dict(
        contenders.state_of(name, r.key, r.value)
        for r in broker.now(broker.read(address, changelog))
    )
    verdict = judge(expected, states, {r.key: r.value for r in lists})
    if verdict.wrong_states or verdict.wrong_lists:
        raise Failed(f"its output is wrong: {verdict}")
    began, ended, done = _stretch(lists, size.skip)
    return Run(done / (ended - began), (cpu.at(ended) - cpu.at(began)) / done * 1e6)


def _topics(name: str, job: Job) -> list[str]:
    """Topics to create for a run; Quix creates its changelog itself, and insists on it."""
    is_ours = name in contenders.OURS
    own = contenders.topics(job) if is_ours else {}
    ours = [topic for topic in own.values() if isinstance(topic, str)]
    if is_ours:
        ours += [f"{job.group}-popularity", rekeyed(job)]
    return sorted({*ours, job.output, *([] if name == "quix" else [job.changelog])})


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PPRM_")}


def rekeyed(job: Job) -> str:
    """Our worker's topic of records on their way to the partition of their key."""
    return f"{job.group}-rekeyed"


def elsewhere(expected: Mapping[bytes, Expected]) -> int:
    """Events that lie in another partition than murmur2 gives their key.

    They are those of half of the shoppers.
    """
    return sum(
        len(shopper.bought) for key, shopper in expected.items()
        if partition_of("murmur2", key, PARTITIONS) != int(key[1:]) % PARTITIONS
    )  # fmt: skip


def _wait_until_committed(
    process: "subprocess.Popen[bytes]", job: Job, topic: str, events: int, log: Path
) -> None:
    deadline = time.monotonic() + RUN_SECONDS
    while broker.now(broker.committed(job.broker, job.group, topic)) < events:
        if process.poll() is not None:
            raise Failed(f"it ended with code {process.returncode}: {_last_line(log)}")
        if time.monotonic() > deadline:
            raise Failed(f"it was not done after {RUN_SECONDS} s: {_last_line(log)}")
        time.sleep(0.5)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][:500] if lines else "it said nothing"


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait()


def _stretch(lists: Sequence[Any], skip: int) -> tuple[float, float, int]:
    """Return when the first `skip` events were answered and when all were, and how many.

    Times are Unix seconds. The number is that of the events between.
    """
    reached: dict[int, int] = {}
    began = None
    for record in sorted(lists, key=lambda r: r.timestamp):
        trigger = json.loads(record.value)["trigger"]
        reached[trigger["partition"]] = max(
            reached.get(trigger["partition"], 0), trigger["offset"] + 1
        )
        if began is None and sum(reached.values()) >= skip:
            began, before = record.timestamp / 1000, sum(reached.values())
    assert began is not None
    return began, record.timestamp / 1000, sum(reached.values()) - before


class _Cpu:
    """CPU seconds of a process at any moment of its life, by asking often."""

    def __init__(self, pid: int) -> None:
        self.samples: list[tuple[float, float]] = []
        self._stat, self._done = Path(f"/proc/{pid}/stat"), Event()
        self._thread = Thread(target=self._sample)

    def __enter__(self) -> "_Cpu":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._done.wait(CPU_EVERY):
            try:
                fields = self._stat.read_text().rsplit(")", 1)[1].split()
            except OSError:
                return
            self.samples.append((time.time(), (int(fields[11]) + int(fields[12])) / TICK))

    def at(self, moment: float) -> float:
        return min(self.samples, key=lambda sample: abs(sample[0] - moment))[1]


def _show(kind: str, report: Mapping[str, Any]) -> None:
    rows = [
        (
            name,
            figures["events_per_second"],
            figures["spread"],
            figures["cpu_us_per_event"],
            report["ratios"].get(name, 1.0),
        )
        for name, figures in report["contenders"].items()
    ]
    columns = ("contender", "events/s", "low - high", "CPU us/event", "ours x times")
    measure.show(f"decode, fold, changelog, list, commit ({kind})", columns, rows)
    for name, why in report["not_run"].items():
        measure.console.print(f"{name}: {why}")


if __name__ == "__main__":
    main()
