"""The sentiment of a review message."""

from pprm.encoders import sentiment as rule
from schemas.reviews import Review


def sentiment(review: Review) -> float:
    """Sentiment of a review, -1 to 1; 0 where it is unknown."""
    return rule.sentiment(review.sentiment, review.rating, review.text)
