"""What a shop wants of its lists, whatever the scores: a module for each rule, found by being here.

A rule is a frozen dataclass, its module's `RULE`. Its fields are its settings, under the names that
they have in the section `recommendations`. There are two kinds, since they act at two moments.
A `Mask` says what a shopper must not be shown. It is asked before the catalogue is ranked, so that
other products take the places. A `Pick` thins out the products in their order, which is known only
afterwards.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, get_type_hints

from pprm.serving.rules.kinds import Mask, Pick, Rule


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a shop that ask for anything."""

    masks: tuple[Mask, ...] = ()
    picks: tuple[Pick, ...] = ()


def kinds() -> Iterator[type[Rule]]:
    """All rules there are, in the order of their modules' names, in which they are applied."""
    for module in iter_modules(__path__):
        rule = getattr(import_module(f"{__name__}.{module.name}"), "RULE", None)
        if rule is not None:
            yield rule


def settings() -> dict[str, tuple[Any, Any]]:
    """Type and default of each setting of each rule, by its name."""
    return {
        field.name: (get_type_hints(rule, include_extras=True)[field.name], field.default)
        for rule in kinds()
        for field in fields(rule)
    }


def of(**chosen: Any) -> Rules:
    """Return the rules of a shop that chose these settings; the others have their defaults.

    Raises:
        TypeError: no rule has such a setting.
    """
    made = []
    for rule in kinds():
        own = {field.name for field in fields(rule)} & chosen.keys()
        made.append(rule(**{name: chosen.pop(name) for name in sorted(own)}))
    if chosen:
        raise TypeError(f"no rule has the settings {', '.join(chosen)}")
    wanted = [rule for rule in made if rule.applies]
    return Rules(
        tuple(rule for rule in wanted if isinstance(rule, Mask)),
        tuple(rule for rule in wanted if isinstance(rule, Pick)),
    )


NO_RULES = of()
