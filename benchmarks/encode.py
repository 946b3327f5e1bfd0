"""Texts per second of the BERT encoder, one at a time, in batches, and from its cache.

Batches are in order of length, or as texts come.

--quick takes a quarter of a minute, the whole about three minutes. One CPU thread, as the worker
sets it, and its CPU
time; where there is a GPU, it is a contender, too. Texts are the products' of Complete Journey, and
made-up ones of a given length; every contender reads the same ones, none of them known.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter, process_time
from typing import Any

import torch

from benchmarks import measure
from benchmarks.measure import median, show
from benchmarks.processes import MIB, alone, peak, resident
from pprm.encoders import text_encoder
from pprm.encoders.text_encoder import TextEncoder
from pprm.retrieval.model import PPRMConfig

DIMENSIONS = PPRMConfig().text_dimensions
LENGTHS = (8, 32, 128, 512)
"""Words of a text; the encoder reads 256 tokens at most."""
WORDS = (
    "fresh organic whole milk bread butter dark chocolate apple juice white wine red pasta sauce"
    " green tea frozen "
    "pizza chicken soup light yogurt vanilla ice cream sea salt paper towel large pack family size"
    " household city"
)


@dataclass(frozen=True, slots=True)
class Size:
    """How many texts are read."""

    one: int = 200
    batched: int = 640
    of_length: int = 128
    lengths: tuple[int, ...] = LENGTHS
    known: int = 20_000


QUICK = Size(10, 64, 8, LENGTHS[:2], 100)


def new_encoder(device: str = "cpu") -> TextEncoder:
    """An encoder that knows no text and has its weights loaded."""
    encoder = TextEncoder(None, DIMENSIONS, torch.device(device))
    encoder.encode(["warm up"])
    return encoder


def per_second(
    encoder: TextEncoder, texts: Sequence[str], read: Callable[[TextEncoder, Sequence[str]], object]
) -> float:
    """Texts per second by one way of reading; the encoder forgets them first.

    On the CPU by the CPU time of its one thread: other loads of the machine do not show in it.
    """
    clock = process_time if encoder.device.type == "cpu" else perf_counter
    encoder.vectors.clear()
    began = clock()
    read(encoder, texts)
    return len(texts) / (clock() - began)


def one_at_a_time(encoder: TextEncoder, texts: Sequence[str]) -> None:
    """A call for each text."""
    for text in texts:
        encoder.encode([text])


def in_their_order(encoder: TextEncoder, texts: Sequence[str]) -> None:
    """Batches as the texts come, padded to the longest of each."""
    for start in range(0, len(texts), text_encoder.BATCH):
        encoder._forward(list(texts[start : start + text_encoder.BATCH]))


def as_it_is(encoder: TextEncoder, texts: Sequence[str]) -> None:
    """One call for all: batches in the order of length."""
    encoder.encode(texts)


def product_texts() -> list[str]:
    """Different texts of Complete Journey's products, shuffled."""
    from pprm.data import complete_journey

    texts = sorted(
        {product.to_catalogue().text for product in complete_journey.load(["1"]).products}
    )
    random.Random(0).shuffle(texts)
    return texts


def of_length(words: int, number: int) -> list[str]:
    """Different texts of so many words."""
    rng = random.Random(words)
    return [" ".join(rng.choices(WORDS.split(), k=words)) for _ in range(number)]


def memory(texts: Sequence[str]) -> dict[str, float]:
    """Bytes in use before and with the weights, at most while reading, and per text known."""
    torch.set_num_threads(1)
    before, encoder = resident(), new_encoder()
    loaded = resident()
    encoder.encode(texts)
    highest, held = peak(), resident()
    row = next(iter(encoder.vectors.values()))
    encoder.vectors = {
        number.to_bytes(8, "little"): row.copy() for number in range(text_encoder.MAX_VECTORS)
    }
    return {
        "before_bytes": before, "loaded_bytes": loaded, "peak_bytes": highest,
        "bytes_per_text_known": (resident() - held) / text_encoder.MAX_VECTORS,
        "texts_known_at_most": text_encoder.MAX_VECTORS,
    }  # fmt: skip


def run(size: Size, rounds: int) -> dict[str, Any]:
    """Measure all; the sections of the report."""
    torch.set_num_threads(1)
    texts = product_texts()
    encoders = {
        name: new_encoder(name)
        for name in ("cpu", "cuda")
        if name == "cpu" or torch.cuda.is_available()
    }
    ways = {
        "one at a time": (one_at_a_time, size.one),
        "batched, as they come": (in_their_order, size.batched),
        "batched, by length": (as_it_is, size.batched),
    }
    products = {
        f"{device}, {name}": partial(per_second, encoder, texts[:number], read)
        for device, encoder in encoders.items()
        for name, (read, number) in ways.items()
    }
    lengths = {
        f"{words} words, {name}": partial(
            per_second, encoders["cpu"], of_length(words, size.of_length // share), read
        )
        for words in size.lengths
        for name, read, share in (("one at a time", one_at_a_time, 4), ("batched", as_it_is, 1))
    }
    return {
        "texts": len(texts), "products": measure.in_turn(products, rounds),
        "lengths": measure.in_turn(lengths, rounds),
        "known": [_known(encoders["cpu"], size.known) for _ in range(rounds)],
        "memory": alone(memory, texts[: size.batched]),
    }  # fmt: skip


def _known(encoder: TextEncoder, number: int) -> float:
    """Texts per second that are in the cache."""
    texts = of_length(8, number)
    row = encoder.encode(texts[:1])[0].astype("float16")
    encoder.vectors.update((text_encoder.text_hash(text), row) for text in texts)
    began = process_time()
    encoder.encode(texts)
    return number / (process_time() - began)


def render(report: Mapping[str, Any]) -> None:
    """Print the tables."""
    for title, rows in (
        ("Texts of products", report["products"]),
        ("Texts by length, CPU", report["lengths"]),
        ("Texts that are known", {"from the cache": report["known"]}),
    ):
        show(
            title,
            ("", "texts/s, median", "ms each", "lowest - highest"),
            [(name, median(v), 1e3 / median(v), measure.spread(v)) for name, v in rows.items()],
        )
    held = report["memory"]
    show(
        "Memory", ("", "MiB"),
        [("before the weights are loaded", held["before_bytes"] / MIB), ("with them",
        held["loaded_bytes"] / MIB),
         ("at most, reading", held["peak_bytes"] / MIB),
         (f"{held['texts_known_at_most']:,} texts known, the most there are",
          held["bytes_per_text_known"] * held["texts_known_at_most"] / MIB)],
    )  # fmt: skip


def main() -> None:
    options = measure.parser(__doc__, rounds=3).parse_args()
    size, rounds = (QUICK, 1) if options.quick else (Size(), options.rounds)
    report = {"environment": measure.environment(threads=1), **run(size, rounds)}
    render(report)
    measure.write(options.report, report)


if __name__ == "__main__":
    main()
