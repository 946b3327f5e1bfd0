"""The model at work: catalogue, popularity and scorer together. Every method runs in the one model thread."""

from collections.abc import Callable, Iterable, Sequence
from time import time

from pprm import artifact, scorer
from pprm.catalogue import Catalogue
from pprm.events import Interaction
from pprm.popularity import Popularity
from pprm.scorer import Ranking, Scorer
from pprm.text_encoder import TextEncoder
from pprm.user_state import UserState
from worker.catalogue import Changes
from worker.settings import Model
