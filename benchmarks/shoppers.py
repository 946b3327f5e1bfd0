"""The bundled data's shoppers before December, and the catalogue, as a worker holds them."""

from collections.abc import Iterator
from itertools import chain

from msgspec.structs import replace

from pprm.core.events import Interaction, Kind, Position
from pprm.core.ids import stable_hash
from pprm.state import user_state
from pprm.state.fold import fold
from pprm.state.user_state import UserState, store_code
from worker.demo import data, wire_rows
from worker.demo.announcements import NONE
from worker.demo.data import Shop
from worker.demo.households import DemoVisit
from worker.runtime.delivery import Row


def state_rows(shop: Shop, copies: int) -> Iterator[Row]:
    """Yield states for the changelog, so many of each household, with user ids from 0 on."""
    states = [
        user_state.encode(state_of(visits, shop.dataset.profile(name)))
        for name, visits in shop.history.items()
    ]
    return (
        Row(str(number).encode(), value)
        for number, value in enumerate(chain.from_iterable([states] * copies))
    )


def state_of(visits: list[DemoVisit], profile: str) -> UserState:
    """A household's state before December, as if its events' topics had been emptied since."""
    bought = (
        (visit, product)
        for visit in visits
        if visit.time < data.BEGIN
        for product in visit.products
    )
    state = fold(UserState(), (_purchase(offset, *of) for offset, of in enumerate(bought))).state
    return replace(state, base=0, watermarks=b"", fingerprints=b"", text=profile.encode())


def _purchase(offset: int, visit: DemoVisit, product: str) -> Interaction:
    position, hashes = Position(0, 0, offset), (stable_hash(product), stable_hash(visit.basket))
    return Interaction(
        position, Kind.PURCHASE, hashes[0], visit.time, hashes[1], store=store_code(visit.store)
    )


def product_rows(shop: Shop) -> Iterator[Row]:
    """The catalogue for the products topic, with what is promoted when December begins."""
    promoted = {one.product: one.entries for one in shop.promotions if one.time <= data.BEGIN}
    for number, product in enumerate(shop.dataset.products):
        yield wire_rows.product_row(product, promoted.get(number, NONE), shop.dataset.stores)
