"""Recommenders to compare PPRM with; each a `Baseline`, all fed by one replay.

The worker's demo counts popularity and frequencies with this package: scipy, implicit and torch are
imported only where a baseline that needs them learns.
"""

from pprm.evaluation.baselines.baseline import Baseline
from pprm.evaluation.baselines.popularity import PopularityBaseline

__all__ = ["Baseline", "PopularityBaseline"]
