"""Yelp Open Dataset: reviews and tips of places, the official JSON-lines files `yelp_academic_dataset_*.json`.

A place is a product; its hours and attributes are the environment. A review is written by somebody who was there, so
it is two events: the visit, as a purchase, and the opinion of it. A tip is an opinion only: a visit that has both a
review and a tip must not count twice. Check-ins name no shopper, and every event here is somebody's: they are not
read. Nor are sums as of the day of publication (stars and numbers of reviews of places and of users, fans, elite
years): they know the future of nearly every event. Times have no zone and are read as UTC.
"""

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from pprm.datasets.cells import identity, number, seconds, text
from pprm.datasets.dataset import Dataset, Product
from pprm.datasets.files import Lines, Progress, Reading, json_records, parsed, silent
from pprm.datasets.rows import Event, Rows, User, collect
from pprm.events import Kind

T = TypeVar("T")

NAME = "yelp"
MAX_CATEGORIES = 8
MAX_ATTRIBUTES = 32
"""Both as in the topic `products`."""


def load(
    business: Path, review: Path, user: Path | None = None, tip: Path | None = None, progress: Progress = silent
) -> Dataset:
    """Read the files; users and tips may be left out.

    Raises:
        TableError: a file is missing or is not as published.
    """
    return collect(NAME, convert(business, review, user, tip, progress))


def convert(
    business: Path, review: Path, user: Path | None = None, tip: Path | None = None, progress: Progress = silent
) -> Rows:
    """The files as rows, line by line; places, 150 thousand, are held in memory."""
    reading = Reading([path for path in (business, review, user, tip) if path], progress)
    visits = _parsed(review, reading, _visit)
    tips = _parsed(tip, reading, _tip) if tip else iter(())
    return Rows(
        chain(chain.from_iterable(visits), tips),
        _places(business, reading),
        _parsed(user, reading, _user) if user else (),
        reading.left_out,
    )


def _parsed(path: Path, reading: Reading, parse: Callable[[Mapping[str, Any]], T]) -> Iterator[T]:
    lines = Lines(path, reading)
    return parsed(lines, json_records(lines), parse)


def _visit(record: Mapping[str, Any]) -> tuple[Event, Event]:
    opinion = _tip(record)._replace(rating=number("stars", record["stars"], 1, 5))
    return opinion._replace(kind=Kind.PURCHASE, rating=None, text=""), opinion


def _tip(record: Mapping[str, Any]) -> Event:
    return Event(
        user_id=identity("user_id", record["user_id"]),
        product_id=identity("business_id", record["business_id"]),
        occurred_at=seconds("date", f"{record['date']}Z"),
        kind=Kind.REVIEW,
        text=text(record["text"]),
    )


def _user(record: Mapping[str, Any]) -> User:
    since = {"yelping since": str(record["yelping_since"])[:4]}
    return User(identity("user_id", record["user_id"]), "", since)


def _places(path: Path, reading: Reading) -> Iterator[Product]:
    """Categories are tags without order: a path is made of them by how many places have each, most first."""
    places = list(_parsed(path, reading, _place))
    spread = Counter(tag for place in places for tag in place.categories)
    for place in places:
        tags = sorted(place.categories, key=lambda tag: (-spread[tag], tag))
        yield place._replace(categories=tags[:MAX_CATEGORIES])


def _place(record: Mapping[str, Any]) -> Product:
    town = ", ".join(part for part in (record.get("city"), record.get("state")) if part)
    known = {"city": town, "hours": _hours(record.get("hours") or {}), **_environment(record.get("attributes") or {})}
    present = [(name, value) for name, value in known.items() if value]
    return Product(
        product_id=identity("business_id", record["business_id"]),
        title=text(record["name"]),
        categories=[tag for tag in (record.get("categories") or "").split(", ") if tag],
        brand="",
        attributes=dict(present[:MAX_ATTRIBUTES]),
        available=record.get("is_open", 1) == 1,
    )


def _hours(hours: Mapping[str, str]) -> str:
    return ", ".join(f"{day} {span}" for day, span in hours.items())


def _environment(attributes: Mapping[str, Any]) -> dict[str, str]:
    """What a place has, in words. What it has not is left out: the encoder reads only the beginning of a long text."""
    return {_words(name): _value(value) for name, value in attributes.items()}


def _value(raw: Any) -> str:
    """A value, which is written in Python: `True`, `u'free'`, `{'romantic': False, 'casual': True}`."""
    try:
        value = ast.literal_eval(raw) if isinstance(raw, str) else raw
    except (ValueError, SyntaxError):
        value = raw
    if isinstance(value, dict):
        return ", ".join(_words(name) for name, has in value.items() if has is True)
    return "yes" if value is True else "" if value in (None, False, "none", "no") else _words(str(value))


def _words(name: str) -> str:
    """`BikeParking`, `full_bar`: in plain words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z0-9])", " ", name).replace("_", " ").lower()
