"""What is on the wire: one module a topic family.

`python -m schemas` writes AsyncAPI and JSON Schemas.
"""

from schemas.browses import Browse
from schemas.dead_letters import DeadLetterHeaders
from schemas.products import Product
from schemas.purchases import Purchase
from schemas.recommendations import Recommendation
from schemas.requests import Request
from schemas.reviews import Review
from schemas.users import User

__all__ = [
    "Browse",
    "DeadLetterHeaders",
    "Product",
    "Purchase",
    "Recommendation",
    "Request",
    "Review",
    "User",
]
