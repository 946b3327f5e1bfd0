"""The sentiment of a review, -1 to 1.

The worker and the training use this one rule.

Hutto and Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media
Text", 2014.
"""

from functools import cache
from typing import Any

from pprm.catalogue.markup import plain

MAX_CHARACTERS = 1000
"""Of a text that is read: VADER takes about a millisecond for it, in the worker's event loop."""


def sentiment(given: float | None, rating: float | None, text: str | None) -> float:
    """Return the sentiment given, else that of the rating or the text, else 0.

    A rating is 1 to 5 stars. VADER reads the text.
    """
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
