"""Draw the rooms of the code, what is in each and what it imports: `python deploy/rooms.py`.

Writes docs/rooms.svg from the sources. Rooms stand in the order of the layers that pyproject.toml
has import-linter check, so every arrow goes down.
"""

import ast
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from textwrap import shorten
from typing import NamedTuple

import grimp

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "rooms.svg"
WIDTH, HEIGHT, GAP, REACH, TOP = 430, 46, 12, 110, 70
"""Of a room, between two, of the arcs beside them, and above the first; pixels."""
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2933 } .name { font-weight: 600 }
  .small { font-size: 11px; fill: #52606d } rect { fill: #f5f7fa; stroke: #9aa5b1 }
  path { fill: none; stroke: #2680c2 } .title { font-size: 16px; font-weight: 600 }
"""


class Room(NamedTuple):
    """A package, or a module that stands beside the packages."""

    name: str
    about: str
    files: int
    lines: int


def layers(container: str) -> list[str]:
    """Names in a container from the top layer down, as import-linter is told them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    found = next(c for c in contracts["contracts"] if c.get("containers") == [container])
    return [name.strip() for layer in found["layers"] for name in layer.split("|")]


def room(container: str, name: str) -> Room:
    """What is in a room."""
    path = ROOT / container / name
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
    first = path / "__init__.py" if path.is_dir() else files[0]
    about = (ast.get_docstring(ast.parse(first.read_text())) or "").split("\n")[0]
    lines = sum(len(file.read_text().splitlines()) for file in files)
    return Room(name, about, len(files), lines)


def arrows(
    graph: grimp.ImportGraph, container: str, names: Sequence[str]
) -> Counter[tuple[str, str]]:
    """How many imports there are from room to room."""
    found = Counter[tuple[str, str]]()
    for name in names:
        inside = f"{container}.{name}"
        for module in {inside, *graph.find_descendants(inside)}:
            for other in graph.find_modules_directly_imported_by(module):
                parts = other.split(".")
                if parts[0] == container and len(parts) > 1 and parts[1] not in (name, ""):
                    found[name, parts[1]] += 1
    return found


def drawn(graph: grimp.ImportGraph, container: str, left: int, side: int) -> Iterator[str]:
    """A container as a column; arcs on one side of it, -1 left or 1 right."""
    names = layers(container)
    middle = {n: TOP + i * (HEIGHT + GAP) + HEIGHT // 2 for i, n in enumerate(names)}
    edge = left + (WIDTH if side > 0 else 0)
    for (a, b), count in sorted(arrows(graph, container, names).items()):
        bow = edge + side * (18 + REACH * abs(names.index(b) - names.index(a)) / len(names))
        width = min(1 + count / 12, 5)
        yield (
            f'<path d="M{edge} {middle[a] + 6} C{bow:.0f} {middle[a] + 6} {bow:.0f} {middle[b] - 6}'
            f' {edge} {middle[b] - 6}" stroke-width="{width:.1f}" stroke-opacity=".45"'
            f' marker-end="url(#tip)"><title>{a} imports {b}: {count}</title></path>'
        )
    yield f'<text class="title" x="{left}" y="{TOP - 20}">{container}/</text>'
    for name in names:
        found, y = room(container, name), middle[name] - HEIGHT // 2
        yield f'<rect x="{left}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>'
        yield f'<text class="name" x="{left + 12}" y="{y + 19}">{name}</text>'
        size = f"{found.files} file{'s' * (found.files > 1)}, {found.lines:,} lines"
        end = f'x="{left + WIDTH - 12}" y="{y + 19}" text-anchor="end"'
        yield f'<text class="small" {end}>{size}</text>'
        about = escape(shorten(found.about, 70, placeholder=" ..."))
        yield f'<text class="small" x="{left + 12}" y="{y + 37}">{about}</text>'


def picture() -> str:
    """The whole picture as SVG."""
    graph = grimp.build_graph("pprm", "worker", "schemas", cache_dir=None)
    rows = max(len(layers(container)) for container in ("pprm", "worker"))
    width, height = 2 * (WIDTH + REACH) + 100, TOP + rows * (HEIGHT + GAP) + 20
    tip = (
        '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="5" markerHeight="5"'
        ' orient="auto"><path d="M0 0L8 4L0 8z" style="fill:#2680c2"/></marker>'
    )
    body = [
        *drawn(graph, "worker", REACH + 20, -1),
        *drawn(graph, "pprm", REACH + WIDTH + 70, 1),
    ]
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">',
        f"<style>{STYLE}</style><defs>{tip}</defs>",
        '<rect width="100%" height="100%" style="fill:#fff;stroke:none"/>', *body, "</svg>\n",
    ])  # fmt: skip


if __name__ == "__main__":
    TARGET.write_text(picture())
    print(f"wrote {TARGET.relative_to(ROOT)}")
