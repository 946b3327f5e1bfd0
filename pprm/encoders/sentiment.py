"""The sentiment of a review, -1 to 1.

One rule for what the worker reads and for what a model learns from.

Hutto and Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media
Text", 2014.
"""

from functools import cache
from typing import Any

from pprm.catalogue.markup import plain

MAX_CHARACTERS = 1000
"""Of the text that is read: VADER takes about a millisecond for so much, in the worker's event
loop."""


def sentiment(given: float | None, rating: float | None, text: str | None) -> float:
    """The sentiment given, else that of the rating (1 to 5 stars), else the text's by VADER, else 0."""
    if given is not None:
        return given
    if rating is not None:
        return (rating - 3) / 2
    if text:
        return float(_analyser().polarity_scores(plain(text)[:MAX_CHARACTERS])["compound"])
    return 0.0


@cache
def _analyser() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()
