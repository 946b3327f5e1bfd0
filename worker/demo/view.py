"""What the demo shows: a live view on a terminal, plain lines elsewhere."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic, perf_counter

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pprm.core.progress import duration
from pprm.evaluation.list_metrics import K
from worker.demo.data import NAME_LENGTH
from worker.demo.demo_progress import DemoProgress, Shown, Step
from worker.demo.households import DemoVisit, browses
from worker.demo.lists import Listed
from worker.demo.report import meanwhile, pprm_lines

PLAIN_SECONDS = 5.0
"""Between two lines of figures."""
REASONS = {
    "due": "due again",
    "bought_before": "bought before",
    "buys_type": "buys this type",
    "buys_category": "buys category",
    "popular": "popular now",
}
"""In words, the most telling first: one is shown."""
UNASKED = {
    "refresh": "the list was old, and is made again",
    "retraction": "a product went, and the list is made again",
}
"""Why a list changed without the shopper, in words."""
SCORES = (
    ("PPRM", "ndcg_at_10"),
    ("own frequency", "top_frequency_ndcg_at_10"),
    ("7-day popularity", "popularity_ndcg_at_10"),
)


def screen(progress: DemoProgress) -> RenderableType:
    """Return the whole live view; it fits 80 columns and 24 lines."""
    if progress.replay_began is None:
        return Group(
            *(
                Text(step_line(step), style="yellow" if step.seconds is None else "green")
                for step in progress.steps
            )
        )
    parts = [_begun(progress), _figures(progress), _scores(progress)]
    if progress.shown:
        simulated = progress.simulates and browses(progress.shown.household)
        parts.append(_household(progress.shown, progress.names, simulated))
    parts.append(Text(pprm_lines(progress)[0], style="dim", overflow="ellipsis", no_wrap=True))
    parts.append(Text(f"{progress.metrics_url}   Ctrl-C ends it with a summary", style="dim"))
    return Group(*parts)


def step_line(step: Step) -> str:
    """Return a step as one plain line."""
    took = "  ... " if step.seconds is None else f"{step.seconds:5.1f}s"
    return f"{took}  {step.name}{': ' + step.detail if step.detail else ''}"


def progress_line(progress: DemoProgress) -> str:
    """Return the figures as one plain line."""
    events, lists = progress.rates()
    latency, online = progress.latency(), progress.scores.means()
    parts = [
        f"{_date(progress.date)}  {progress.events:,}/{progress.planned:,} events",
        f"{events:,.0f} events/s  {lists:,.0f} lists/s",
        f"p50 {_ms(latency['p50'])}  p99 {_ms(latency['p99'])}",
    ]
    if online["baskets"]:
        parts.append(
            f"{online['baskets']:,} baskets: hit rate {online['hit_rate_at_10']:.0%}"
            f"  NDCG@10 {online['ndcg_at_10']:.3f} (own frequency"
            f" {online['top_frequency_ndcg_at_10']:.3f},"
            f" 7-day popularity {online['popularity_ndcg_at_10']:.3f})"
        )
    return "  |  ".join(parts)


@contextmanager
def shown(progress: DemoProgress, console: Console, live: bool) -> Iterator[Callable[[], None]]:
    """Yield a function that brings what is shown up to date.

    It is to be called several times a second, and at the end.
    """
    if not (live and console.is_terminal):
        yield _Lines(progress, console).update
        return
    with Live(console=console, auto_refresh=False) as display:
        meanwhile_lines = _Meanwhile(progress, console)

        def update() -> None:
            meanwhile_lines.update()  # above the live view, where it stays to be copied
            display.update(screen(progress), refresh=True)

        yield update


@dataclass(slots=True)
class _Meanwhile:
    """What to type in another terminal, shown once, when the replay has begun."""

    progress: DemoProgress
    console: Console
    _is_told: bool = False

    def update(self) -> None:
        if self.progress.date and not self._is_told:
            self._is_told = True
            self.console.print(
                f"{meanwhile(self.progress)}\n", markup=False, highlight=False, soft_wrap=True
            )


@dataclass(slots=True)
class _Lines:
    """Print plain lines.

    Each step has one when it has ended and, if that takes long, now and then before. The figures
    follow.
    """

    progress: DemoProgress
    console: Console
    _told: set[str] = field(default_factory=set)
    _next: float = 0.0
    _meanwhile: _Meanwhile = field(init=False)

    def __post_init__(self) -> None:
        self._meanwhile = _Meanwhile(self.progress, self.console)

    def update(self) -> None:
        for step in self.progress.steps:
            if step.seconds is not None and step.name not in self._told:
                self._say(step_line(step))
                self._told.add(step.name)
        self._meanwhile.update()
        if monotonic() >= self._next:
            lines = [progress_line(self.progress)] if self.progress.events else self._under_way()
            for line in lines:
                self._next = monotonic() + PLAIN_SECONDS
                self._say(line)

    def _under_way(self) -> list[str]:
        taken = (
            (step, perf_counter() - step.began)
            for step in self.progress.steps
            if step.seconds is None
        )
        return [
            f"{step_line(step)} (for {duration(time)})"
            for step, time in taken
            if time >= PLAIN_SECONDS
        ]

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False, soft_wrap=True)


def _begun(progress: DemoProgress) -> RenderableType:
    folded = f"{progress.households:,} shoppers, {progress.backfill_events:,} events folded"
    return Text(
        f"{folded}; first list after {progress.seconds_to_first or 0.0:.1f} s", style="green"
    )


def _figures(progress: DemoProgress) -> RenderableType:
    events, lists = progress.rates()
    latency = progress.latency()
    return Text.assemble(
        (_date(progress.date), "bold cyan"),
        f"  {progress.events:,}/{progress.planned:,} events  {events:,.0f}/s  {lists:,.0f} lists/s",
        f"  p50 {_ms(latency['p50'])}  p99 {_ms(latency['p99'])}",
    )


def _scores(progress: DemoProgress) -> RenderableType:
    online = progress.scores.means()
    if not online["baskets"]:
        return Text("no basket judged yet", style="dim")
    table = Table.grid(padding=(0, 2))
    hit_rate = (
        f"{online['hit_rate_at_10']:.0%} of {online['baskets']:,}"
        " baskets had a hit in the 10 before"
    )
    table.add_row("NDCG@10 so far", Text(hit_rate, style="bold"))
    for name, key in SCORES:
        value = float(online[key] or 0.0)
        table.add_row(
            name,
            Text(
                "█" * round(120 * value) + f" {value:.3f}", style="bold" if name == "PPRM" else ""
            ),
        )
    return table


def _does(visit: DemoVisit, hits: int, simulated: bool) -> str:
    """What a shopper does, in words; `simulated`: this one's looks are."""
    count = len(visit.products)
    if visit.is_basket:
        return (
            f"buys {count} (it browses: not judged)"
            if simulated
            else f"buys {count}, {hits} of them listed"
        )
    if visit.family == "reviews":
        return f"reviews {count}"
    return f"looks at {count} (simulated)" if simulated else visit.action.replace("_", " ")


def _household(shown: Shown, names: Mapping[str, str], simulated: bool) -> RenderableType:
    visit = shown.visit
    hits = len(set(visit.products).intersection(shown.before.products[:K])) if visit else 0
    does = _does(visit, hits, simulated) if visit else UNASKED[shown.after.cause]
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for heading in ("    ", "before", "   ", "after", "why"):
        table.add_column(heading, no_wrap=True, min_width=len(heading))
    for rank in range(min(K, len(shown.after.products))):
        table.add_row(*_row(shown, rank, names))
    title = f"shopper {shown.household}, {_date(shown.date)}: {does}"
    return Panel(table, title=title, title_align="left", expand=False)


def _row(shown: Shown, rank: int, names: Mapping[str, str]) -> list[Text]:
    before, after = shown.before.products, shown.after.products[rank]
    left = before[rank] if rank < len(before) else ""
    hit = shown.visit is not None and left in shown.visit.products
    reason = next(
        (words for name, words in REASONS.items() if name in shown.after.reasons[rank]), ""
    )
    return [
        Text(f"{rank + 1:2}{' ✓' if hit else '  '}", style="bold green"),
        Text(_name(left, names), style="bold green" if hit else ""),
        _change(after, rank, shown.before),
        Text(_name(after, names)),
        Text(reason, style="dim"),
    ]


def _change(product: str, rank: int, before: Listed) -> Text:
    if product not in before.products:
        return Text("new", style="cyan")
    moved = before.products.index(product) - rank
    if moved == 0:
        return Text("=", style="dim")
    return Text(f"▲{moved}", style="green") if moved > 0 else Text(f"▼{-moved}", style="red")


def _name(product: str, names: Mapping[str, str]) -> str:
    return names.get(product, "")[:NAME_LENGTH]


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%a %d %b %Y") if seconds else "—"


def _ms(seconds: float | None) -> str:
    return "—" if seconds is None else f"{1e3 * seconds:.0f} ms"
