"""What runs until it is stopped: the worker, the embedded broker, the demo."""

import gc
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from worker.cli.errors import fail
from worker.cli.options import (
    Broker,
    Config,
    DatasetName,
    Files,
    Strict,
    settings_of,
    source_of,
)


def worker(
    config: Config = None,
    broker: Broker = None,
    state: Annotated[
        Path | None, typer.Option(help="Directory of the RocksDB tables, one per worker.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Artifact directory made by `pprm train`.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port of /metrics, /live and /ready; 0 takes a free one.")
    ] = None,
) -> None:
    """Run a worker until it is stopped (SIGTERM, Ctrl-C).

    It needs the topics (`pprm topics create`). Start as many as there are partitions: they share
    them out. Metrics and health are on http://127.0.0.1:9464 (/metrics, /live, /ready). Everything
    else is a setting: `pprm config show`.
    """
    settings = settings_of(
        config,
        kafka={"bootstrap_servers": broker},
        state={"directory": state},
        model={"directory": model, "device": device},
        http={"port": port},
    )
    # imports leave no garbage, and a quarter of their time would go into looking for it
    gc.disable()
    from worker.app import run

    gc.freeze()
    gc.enable()
    run(settings)


def broker(
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port on 127.0.0.1.")] = 9092,
) -> None:
    """Run the embedded broker until Ctrl-C: to try things out without a Kafka, on this machine.

    Never for real events: it keeps all in memory, has no transactions (delivery = exactly_once),
    and librdkafka 2.0 (Debian 12's kcat) cannot talk to it. Then, in another terminal:

    pprm topics create && pprm worker
    """
    from worker.kafka import embedded

    # its own process must not outlive this one
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with embedded.process(port=port) as (address, running):
            typer.echo(f"The embedded broker is on {address}, until Ctrl-C; it keeps nothing.")
            code = running.wait()
    except embedded.EmbeddedBrokerError as error:
        fail(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    fail(f"the embedded broker ended with code {code}")


def demo(
    households: Annotated[
        str, typer.Option(metavar="N|all", help="How many shoppers take part.")
    ] = "300",
    dataset: DatasetName = "complete-journey",
    file: Files = None,
    strict: Strict = False,
    model: Annotated[
        Path | None, typer.Option(help="Artifact made by `pprm train`; else the bundled one.")
    ] = None,
    events: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many replayed events.")
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option(
            metavar="R|max", help="Replayed events per second; 100 in the live view, else max."
        ),
    ] = None,
    broker: Annotated[
        str | None,
        typer.Option(
            "--broker",
            "--bootstrap-server",
            metavar="HOST:PORT",
            help="A Kafka of yours, not the embedded broker.",
        ),
    ] = None,
    ui: Annotated[
        bool, typer.Option("--ui/--no-ui", help="Live view, or plain progress lines.")
    ] = True,
    report: Annotated[Path | None, typer.Option(help="Write the figures as JSON.")] = None,
) -> None:
    """Real purchases through a real worker: watch recommendations change.

    Starts an embedded broker and a worker, publishes a year of grocery purchases until November as
    a backfill, replays December in time order, and compares every basket with the list that was
    published before it. The last eighth of another shop's baskets is replayed with --dataset, the
    files that you have downloaded, and a
    --model of it:

    pprm demo --dataset table --file events.csv --file products.csv --model my-model
    """
    from worker.demo.run import DemoOptions, run

    options = DemoOptions(
        households=None if households == "all" else _number(households, "--households"),
        source=source_of(dataset, file, strict=strict),
        model=model,
        events=events,
        rate=_rate(rate, ui and sys.stdout.isatty()),
        broker=broker,
        ui=ui,
        report=report,
    )
    raise typer.Exit(run(options))


WATCHABLE = 100.0
"""Events per second that a person can follow."""


def _rate(rate: str | None, watched: bool) -> float | None:
    if rate is None:
        return WATCHABLE if watched else None
    return None if rate == "max" else float(_number(rate, "--rate"))


def _number(text: str, option: str) -> int:
    if not text.isdigit() or int(text) < 1:
        fail(f"{option} takes a positive whole number or a word from its help, not {text!r}")
    return int(text)
