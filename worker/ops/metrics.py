"""All Prometheus instruments of the worker, in one place with their meaning.

Nothing else imports prometheus_client.

A field's name is its metric's name without the prefix; counters get `_total` from the client. Base
units only, and no user or product id as a label: series must stay few. Counters and histograms
start at 0 for every known label value, so that `rate()` sees their first increase; a labelled gauge
appears when its value is known.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any, get_args, get_type_hints

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder

from pprm.state.fold import WITHOUT_EFFECT

NAMESPACE = "pprm"
STAGES = ("decode", "fold", "score", "encode", "publish", "store")
"""The stages of a micro-batch, in their order."""

LATENCY_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
RECOVERY_SECONDS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
HOUR = 3600
AGES = (
    60,
    600,
    1800,
    HOUR,
    6 * HOUR,
    12 * HOUR,
    *(HOUR * 24 * days for days in (1, 1.25, 2, 7, 30)),
)
SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 4000)


@dataclass(frozen=True, slots=True)
class Spec:
    """What an instrument says besides its type and name."""

    meaning: str
    labels: tuple[str, ...] = ()
    buckets: Sequence[float] = LATENCY_SECONDS
    """Upper bounds, for histograms only."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """The worker's instruments and the registry that holds them."""

    registry: CollectorRegistry

    events_consumed: Annotated[
        Counter, Spec("Events taken from a topic, invalid ones included.", ("topic",))
    ]
    events_invalid: Annotated[
        Counter, Spec("Events that could not be decoded or validated.", ("topic", "reason"))
    ]
    events_mended: Annotated[
        Counter,
        Spec("Texts of events cut to their limit; record times that cannot be.", ("topic", "what")),
    ]
    events_repeated: Annotated[
        Counter, Spec("Events delivered again that the state already held.", ("topic",))
    ]
    events_without_effect: Annotated[
        Counter,
        Spec(
            "Events that counted for nothing: published before (by event_id),"
            " a return of what was not bought, a purchase of none.",
            ("topic", "why"),
        ),
    ]
    offset_gaps: Annotated[
        Counter, Spec("Seeks back by the offset ledger: an offset was missing.", ("topic",))
    ]
    events_deleted: Annotated[
        Counter,
        Spec(
            "Offsets that the broker had deleted (retention) before the worker read them.",
            ("topic",),
        ),
    ]
    events_misplaced: Annotated[
        Counter,
        Spec("Records in another partition than their key has by topics.partitioner.", ("topic",)),
    ]
    events_rekeyed: Annotated[
        Counter,
        Spec(
            "Records sent on to the partition of their key, or to be forgotten in every partition.",
            ("topic",),
        ),
    ]
    topics_replaced: Annotated[
        Counter,
        Spec(
            "Partitions whose log was another one than what"
            " was committed: deleted and made anew, or cut.",
            ("topic",),
        ),
    ]
    foreign_writes: Annotated[
        Counter,
        Spec(
            "States in the changelog that a suspended former owner had overwritten, written again."
        ),
    ]
    state_quarantines: Annotated[
        Counter,
        Spec("Partitions of the table moved aside because their files were damaged, and rebuilt."),
    ]
    recommendations_sent: Annotated[
        Counter,
        Spec("Recommendation lists acknowledged by the broker, by why they were made.", ("cause",)),
    ]
    recommendations_unchanged: Annotated[
        Counter, Spec("Lists that were made and not sent: they are as those before.")
    ]
    scores_not_finite: Annotated[
        Counter,
        Spec(
            "Scores that were no finite numbers: their products were left out of a list, or of all."
        ),
    ]
    dead_letters_sent: Annotated[Counter, Spec("Dead letters acknowledged by the broker.")]
    rebalances: Annotated[Counter, Spec("Rebalances of the consumer group seen by this worker.")]
    state_evictions: Annotated[
        Counter, Spec("Product counters dropped from user states because a state was full.")
    ]

    end_to_end_latency_seconds: Annotated[
        Histogram, Spec("Record timestamp to acknowledged recommendation list.")
    ]
    list_age_seconds: Annotated[
        Histogram,
        Spec("Age of a list, in event time, when the next one took its place.", buckets=AGES),
    ]
    queue_wait_seconds: Annotated[
        Histogram, Spec("Arrival of a record in the worker to the start of its micro-batch.")
    ]
    stage_duration_seconds: Annotated[
        Histogram, Spec("Time of one stage of a micro-batch.", ("stage",))
    ]
    batch_size: Annotated[Histogram, Spec("Events per micro-batch.", buckets=SIZES)]
    batch_users: Annotated[Histogram, Spec("Users scored per micro-batch.", buckets=SIZES)]
    commit_duration_seconds: Annotated[Histogram, Spec("Time of one offset commit.")]
    recovery_duration_seconds: Annotated[
        Histogram, Spec("Assignment to restored state, per rebalance.", buckets=RECOVERY_SECONDS)
    ]

    consumer_lag: Annotated[
        Gauge,
        Spec(
            "Records between the committed offset and the partition's end.", ("topic", "partition")
        ),
    ]
    topic_missing: Annotated[
        Gauge, Spec("1 while a topic that the worker needs does not exist, else 0.", ("topic",))
    ]
    topic_partitions_differ: Annotated[
        Gauge,
        Spec(
            "1 while a topic keyed by user is cut otherwise"
            " than the states: it is not read; else 0.",
            ("topic",),
        ),
    ]
    event_time_lag_seconds: Annotated[
        Gauge, Spec("Now minus the event time of the newest event handled.", ("topic",))
    ]
    lists_due: Annotated[Gauge, Spec("Lists that are due to be made again, and wait.")]
    retraction_waiting_seconds: Annotated[
        Gauge,
        Spec("How long the oldest list has waited that holds a product not available any more."),
    ]
    queue_depth: Annotated[Gauge, Spec("Records that wait in the worker for a micro-batch.")]
    state_size_bytes: Annotated[Gauge, Spec("Bytes of a table's files on disk.", ("table",))]
    state_keys: Annotated[Gauge, Spec("Keys in a table (the store's estimate).", ("table",))]
    recovery_remaining_events: Annotated[
        Gauge, Spec("Changelog records still to be read back.", ("table",))
    ]
    recovery_progress_ratio: Annotated[
        Gauge, Spec("Part of the changelog that is read back; 1 when nothing is left.", ("table",))
    ]
    catalogue_products: Annotated[
        Gauge, Spec("Products that can be recommended, and products known at all.", ("state",))
    ]
    catalogue_records: Annotated[
        Counter, Spec("Records of the products topic taken into the catalogue.")
    ]
    popularity_purchases: Annotated[
        Gauge, Spec("Purchases in the popularity used, of all workers' partitions.")
    ]
    model_last_update_timestamp_seconds: Annotated[
        Gauge, Spec("Unix time at which the model in use was loaded.")
    ]
    gpu_memory_bytes: Annotated[
        Gauge, Spec("GPU memory held by the model's tensors; 0 on the CPU.")
    ]
    disk_free_bytes: Annotated[Gauge, Spec("Free bytes on the file system that holds the state.")]
    ready: Annotated[Gauge, Spec("1 when the worker is ready, as /ready says, else 0.")]
    build: Annotated[Info, Spec("Version of the worker; name, version and SHA-256 of the model.")]


def create(
    topics: Sequence[str] = (),
    reasons: Sequence[str] = (),
    tables: Sequence[str] = (),
    mended: Sequence[str] = (),
    causes: Sequence[str] = (),
) -> Metrics:
    """Make all instruments, and the process's figures, in a registry of their own.

    The process's figures are CPU, memory and open files.

    Args:
        topics: Names of the input topics, for label values that are known from the start.
        reasons: Why an event can be invalid.
        tables: Names of the tables.
        mended: What of an event can be mended.
        causes: Why a list can be made.
    """
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series per counter, which nobody reads
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    known = {
        "topic": topics,
        "reason": reasons,
        "table": tables,
        "stage": STAGES,
        "what": mended,
        "why": WITHOUT_EFFECT,
        "cause": causes,
    }
    hints = get_type_hints(Metrics, include_extras=True)
    del hints["registry"]
    return Metrics(
        registry, **{name: _make(name, hint, registry, known) for name, hint in hints.items()}
    )


def _make(
    name: str, hint: Any, registry: CollectorRegistry, known: Mapping[str, Sequence[str]]
) -> Any:
    kind, spec = get_args(hint)
    options = {"buckets": spec.buckets} if kind is Histogram else {}
    instrument = kind(
        name, spec.meaning, spec.labels, namespace=NAMESPACE, registry=registry, **options
    )
    if spec.labels and kind is not Gauge:
        for values in product(*(known[label] for label in spec.labels)):
            instrument.labels(*values)
    return instrument


def forget_partitions(metrics: Metrics) -> None:
    """Drop what is measured per partition or topic.

    After a rebalance another worker exports it.
    """
    metrics.consumer_lag.clear()
    metrics.event_time_lag_seconds.clear()


def renderer(metrics: Metrics) -> Callable[[str], tuple[bytes, str]]:
    """Return the metrics page and its content type, which follows a request's Accept header.

    OpenMetrics is used where it is asked for.
    """

    def render(accept: str) -> tuple[bytes, str]:
        encode, content_type = choose_encoder(accept)
        return encode(metrics.registry), content_type

    return render
