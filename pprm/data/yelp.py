"""Yelp Open Dataset: reviews and tips of places.

The official JSON-lines files `yelp_academic_dataset_*.json`.

A place is a product; its hours and attributes are the environment. A review is written by somebody
who was there, so it is two events: the visit, as a purchase, and the opinion of it. A tip is an
opinion only: a visit that has both a review and a tip must not count twice. Check-ins name no
shopper, and every event here is somebody's: they are not read. Nor are sums as of the day of
publication (stars and numbers of reviews of places and of users, fans, elite years): they know the
future of nearly every event. Times have no zone and are read as UTC.
"""

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from pprm.core.events import Kind
from pprm.data.cells import identity, number, path, seconds, text
from pprm.data.dataset import Dataset, ShopProduct
from pprm.data.files import Note, OnProgress, Reading, parsed, silent
from pprm.data.limits import ATTRIBUTES, CATEGORIES, fit_event, fit_product
from pprm.data.reading_report import Unusable
from pprm.data.rows import Event, Rows, ShopUser, collect
from pprm.data.text_files import Lines, json_records

T = TypeVar("T")

NAME = "yelp"
FILES = ("business", "review", "user, which may be missing", "tip, which may be missing")


def load(
    business: Path,
    review: Path,
    user: Path | None = None,
    tip: Path | None = None,
    progress: OnProgress = silent,
    strict: bool = False,
) -> Dataset:
    """Read the files; users and tips may be left out.

    Raises:
        TableError: a file is missing or is not as published.
    """
    return collect(NAME, convert(business, review, user, tip, progress, strict))


def convert(
    business: Path,
    review: Path,
    user: Path | None = None,
    tip: Path | None = None,
    progress: OnProgress = silent,
    strict: bool = False,
) -> Rows:
    """The files as rows, line by line; places, 150 thousand, are held in memory."""
    reading = Reading([file for file in (business, review, user, tip) if file], progress, strict)
    visits = _parsed(review, reading, _visit)
    tips = _parsed(tip, reading, _tip) if tip else iter(())
    return Rows(
        chain(chain.from_iterable(visits), tips),
        _places(business, reading),
        _parsed(user, reading, _user) if user else (),
        reading.report,
    )


def _parsed(
    file: Path, reading: Reading, parse: Callable[[Mapping[str, Any], Note], T]
) -> Iterator[T]:
    lines = Lines(file, reading)
    return parsed(lines, json_records(lines), lambda record: parse(record, lines.note))


def _visit(record: Mapping[str, Any], note: Note) -> tuple[Event, Event]:
    opinion = _tip(record, note)._replace(rating=number("stars", record["stars"], 1, 5))
    return opinion._replace(kind=Kind.PURCHASE, rating=None, text=""), opinion


def _tip(record: Mapping[str, Any], note: Note) -> Event:
    event = Event(
        user_id=identity("user_id", record["user_id"]),
        product_id=identity("business_id", record["business_id"]),
        occurred_at=seconds("date", f"{record['date']}Z"),
        kind=Kind.REVIEW,
        text=text(record["text"]),
    )
    return fit_event(event, note)


def _user(record: Mapping[str, Any], _: Note) -> ShopUser:
    since = {"yelping since": text(record["yelping_since"])[:4]}
    return ShopUser(identity("user_id", record["user_id"]), "", since)


def _places(file: Path, reading: Reading) -> Iterator[ShopProduct]:
    """Make a path of categories, which are tags without order.

    They come by how many places have each, most first.
    """
    places = list(_parsed(file, reading, _place))
    spread = Counter(tag for place in places for tag in place.categories)
    for place in places:
        tags = sorted(place.categories, key=lambda tag: (-spread[tag], tag))
        yield place._replace(categories=tags[:CATEGORIES])  # as many as a record may have


def _place(record: Mapping[str, Any], note: Note) -> ShopProduct:
    town = ", ".join(part for part in (text(record.get("city")), text(record.get("state"))) if part)
    hours, attributes = _fields(record, "hours"), _fields(record, "attributes")
    known = {"city": town, "hours": _hours(hours), **_environment(attributes)}
    present = [(name, value) for name, value in known.items() if value]
    place = ShopProduct(
        product_id=identity("business_id", record["business_id"]),
        title=text(record["name"]),
        categories=[],
        brand="",
        attributes=dict(present[:ATTRIBUTES]),
        available=record.get("is_open", 1) == 1,
    )
    return fit_product(place, note)._replace(categories=path(record.get("categories"), ", "))


def _fields(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    fields = record.get(name) or {}
    if not isinstance(fields, dict):
        raise Unusable(f"{name} must be an object", fields)
    return fields


def _hours(hours: Mapping[str, Any]) -> str:
    return ", ".join(f"{day} {text(span)}" for day, span in hours.items())


def _environment(attributes: Mapping[str, Any]) -> dict[str, str]:
    """Describe what a place has, in words.

    What it has not is left out: the encoder reads only the beginning of a long text.
    """
    return {_words(name): _value(value) for name, value in attributes.items()}


def _value(raw: Any) -> str:
    """Read a value that is written in Python.

    Examples are `True`, `u'free'` and `{'romantic': False, 'casual': True}`.
    """
    try:
        value = ast.literal_eval(raw) if isinstance(raw, str) else raw
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        value = raw
    if isinstance(value, dict):
        return ", ".join(_words(name) for name, has in value.items() if has is True)
    return (
        "yes"
        if value is True
        else ""
        if not value or value in ("none", "no")
        else _words(str(value))
    )


def _words(name: str) -> str:
    """`BikeParking`, `full_bar`: in plain words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z0-9])", " ", name).replace("_", " ").lower()
