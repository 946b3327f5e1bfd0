"""The sentiment of a review, -1 to 1: the one given, else the rating's, else the text's by VADER.

Hutto and Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text", 2014.
"""

from functools import cache
from typing import Any

from schemas import Review

MAX_CHARACTERS = 1000
"""Of the text that is read: VADER takes about a millisecond for so much, in the event loop."""


def sentiment(review: Review) -> float:
    """Sentiment of a review; 0 where nothing tells it."""
    if review.sentiment is not None:
        return review.sentiment
    if review.rating is not None:
        return (review.rating - 3) / 2
    if review.text:
        return float(_analyser().polarity_scores(review.text[:MAX_CHARACTERS])["compound"])
    return 0.0


@cache
def _analyser() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()
