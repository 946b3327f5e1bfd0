"""The figures at the end: as JSON, and as words with what to type next. Pure."""

from collections.abc import Mapping
from typing import Any

import orjson

from worker.demo import prequential
from worker.demo.demo_progress import DemoProgress
from worker.demo.wire_rows import timestamp


def figures(progress: DemoProgress) -> dict[str, Any]:
    """Return the report. docs/demo.md says what each figure means."""
    seconds = progress.replay_seconds()
    model = progress.lists.model
    return {
        "ended": progress.ended,
        "households": progress.households,
        "households_with_events": progress.households,
        "households_with_lists": len(progress.lists.newest),
        "backfill_events": progress.backfill_events,
        "events": progress.events,
        "recommendations": progress.lists.received,
        "unasked": progress.lists.unasked,
        "dead_letters": progress.dead_letters,
        "seconds_to_first_recommendation": _rounded(progress.seconds_to_first),
        "events_per_second": _rounded(progress.events / seconds if seconds else None),
        "latency_seconds": progress.latency(),
        "online": progress.scores.means(),
        "model": {"name": model.get("name"), "sha256": model.get("sha256")},
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


KCAT_AND_TANSU = (
    "or, with a kcat on librdkafka later than 2.0 (Debian"
    " 12's cannot read the embedded broker's greeting):"
)


def pprm_lines(progress: DemoProgress) -> list[str]:
    """The same with our own command, which needs no other client."""
    household = next(iter(progress.lists.newest), "1")
    prefix = f"PPRM_TOPICS__PREFIX={progress.prefix} " if progress.prefix else ""
    return [
        f"{prefix}pprm tail --broker {progress.broker}",
        f"{prefix}pprm send purchases --broker {progress.broker} --user {household}"
        f" --product {progress.example} --occurred-at {timestamp(progress.date)}",
    ]


def kcat_lines(progress: DemoProgress) -> list[str]:
    """Lines to copy: they follow the lists, and publish a purchase as any other client would."""
    to = f"kcat -b {progress.broker}"
    household = next(iter(progress.lists.newest), "1")
    bought = {
        "event_id": "mine-1",
        "user_id": household,
        "product_id": progress.example,
        "occurred_at": timestamp(progress.date),
    }
    return [
        f"{to} -t {progress.prefix}recommendations -C -o end -f '%k %s\\n'",
        f"echo '{household}|{orjson.dumps(bought).decode()}' |"
        f" {to} -t {progress.prefix}purchases -P -K '|' -X topic.partitioner=murmur2_random",
    ]


def summary(progress: DemoProgress) -> str:
    """Return the figures in words, and what to do next."""
    report = figures(progress)
    online, latency = report["online"], report["latency_seconds"]
    if report["seconds_to_first_recommendation"] is None:
        return "Ended before the first list."
    lines = [
        f"First list {report['seconds_to_first_recommendation']:.1f} s after the command,"
        f" {report['households']:,}"
        f" shoppers, {report['backfill_events']:,} events as a backfill.",
        f"Replayed {report['events']:,} events ({report['events_per_second'] or 0:,.0f}/s):"
        f" {report['recommendations']:,} lists, {report['unasked']:,} of them made again"
        f" because they were old; {report['dead_letters']} dead letters.",
    ]
    if latency["p50"] is not None:
        lines.append(
            f"Event to list: p50 {1e3 * latency['p50']:.0f} ms, p99 {1e3 * latency['p99']:.0f} ms."
        )
    if online["baskets"]:
        lines += [
            f"{online['baskets']:,} baskets, each against the list published before it:"
            f" {online['hit_rate_at_10']:.0%} had a hit in 10.",
            f"NDCG@10 {online['ndcg_at_10']:.3f}. On the same baskets, as"
            f" of each basket's own moment: {_without_a_model(online)}.",
        ]
        if better := progress.scores.better():
            lines.append(
                "On these baskets the lists DO NOT BEAT"
                f" {' and '.join(better)}: docs/small-shops.md."
            )
        if progress.simulates:
            lines.append(
                "One household in ten browses, by simulation; its baskets are not in these figures."
            )
    if progress.note:
        lines.append(progress.note)
    if progress.reading:
        lines.append(progress.reading)
    return "\n".join(lines)


def _without_a_model(online: Mapping[str, Any]) -> str:
    figures = (
        (title, online.get(f"{name}_ndcg_at_10")) for name, title in prequential.NAMES.items()
    )
    return ", ".join(f"{title} {value:.3f}" for title, value in figures if value is not None)


def meanwhile(progress: DemoProgress) -> str:
    """Return what to type in another terminal while the demo runs."""
    lines = ["While the demo runs, it is just Kafka. In another terminal:", *pprm_lines(progress)]
    return "\n".join([*lines, KCAT_AND_TANSU if progress.embedded else "or", *kcat_lines(progress)])


def what_is_left(progress: DemoProgress) -> str:
    """Return what the demo leaves behind, and what to type next."""
    if progress.embedded:
        kept = "The embedded broker kept nothing: it, the topics and the state are gone."
    else:
        kept = (
            f"The topics {progress.prefix or '(no prefix)'}*"
            f" stay on {progress.broker} until you delete them."
        )
    return (
        f"{kept}\n"
        "Next: point PPRM_KAFKA__BOOTSTRAP_SERVERS at your"
        " cluster, `pprm topics create`, `pprm worker`."
    )
