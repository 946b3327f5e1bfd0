"""Small numbers for the names of types, categories and makers."""

from collections.abc import Iterator

TYPE_CODE, CATEGORY_CODE, MAKER_CODE = range(3)
"""Columns of `Catalogue.codes`, and places in `Catalogue.sizes`."""


class Codes:
    """Small numbers for names, in order of appearance.

    The number of a name that is no longer used goes to another name.
    """

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._names: list[str] = []
        self._uses: list[int] = []
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def of(self, name: str) -> int:
        """Number of a name, a new one where it has none."""
        code = self._codes.get(name)
        if code is None:
            code = self._codes[name] = self._place(name)
        return code

    def take(self, name: str) -> int:
        """Number of a name, which has one use more."""
        code = self.of(name)
        self._uses[code] += 1
        return code

    def drop(self, code: int) -> None:
        """The name has one use less."""
        self._uses[code] -= 1
        if not self._uses[code]:
            del self._codes[self._names[code]]
            self._free.append(code)

    def _place(self, name: str) -> int:
        if self._free:
            code = self._free.pop()
            self._names[code] = name
            return code
        self._names.append(name)
        self._uses.append(0)
        return len(self._names) - 1
