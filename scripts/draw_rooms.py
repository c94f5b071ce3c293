"""draw_rooms.py: the rooms of jaxpaged and who imports whom, drawn from the imports as jaxpaged/docs/rooms.svg.

    python scripts/draw_rooms.py

An arrow that follows from others (a imports b imports c, and a imports c) is left out.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "jaxpaged" / "docs" / "rooms.svg"
PACKAGES = ("server", "jaxpaged", "pallas_kernels")
WIDTH, BOX, GAP, LINE, FLOOR = 1330, 236, 26, 15, 132
LINES_SHOWN, CHARACTERS = 3, 36

Graph = Mapping[str, frozenset[str]]


def room_of(module: str) -> str | None:
    """jaxpaged's rooms by name, the other two packages whole; None for what is not ours."""
    package, _, rest = module.partition(".")
    if package not in PACKAGES:
        return None
    return rest.split(".")[0] or None if package == "jaxpaged" else package


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def read_graph() -> Graph:
    """Room -> the rooms that it imports. `jaxpaged/__init__.py` only lists names, so it is no room."""
    graph: dict[str, set[str]] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            room = room_of(module)
            if room is None or room.startswith("__"):
                continue
            found = {"llm", "async_llm"} if room == "server" else map(room_of, imports_of(path))
            graph.setdefault(room, set()).update(other for other in found if other and other != room)
    return {room: frozenset(others & graph.keys()) for room, others in graph.items()}


def levels_of(graph: Graph) -> dict[str, int]:
    """Floors, 0 the lowest: right below the rooms that import a room. Raises ValueError for a circle."""
    levels: dict[str, int] = {}

    def level(room: str, above: tuple[str, ...]) -> int:
        if room in above:
            raise ValueError(f"rooms import each other in a circle: {' -> '.join((*above, room))}")
        if room not in levels:
            levels[room] = 1 + max((level(other, (*above, room)) for other in graph[room]), default=-1)
        return levels[room]

    for room in graph:
        level(room, ())
    for room in sorted(levels, key=lambda room: -levels[room]):
        importers = [levels[other] for other in graph if room in graph[other]]
        levels[room] = min(importers, default=levels[room] + 1) - 1
    return levels


def without_implied(graph: Graph) -> dict[str, list[str]]:
    """The transitive reduction."""

    def below(room: str) -> set[str]:
        return {deeper for other in graph[room] for deeper in (other, *below(other))}

    implied = {room: {deep for other in others for deep in below(other)} for room, others in graph.items()}
    return {room: sorted(others - implied[room]) for room, others in graph.items()}


def purpose_of(room: str) -> str:
    """The first sentence of the room's docstring."""
    folder = ROOT / room if room in PACKAGES else ROOT / "jaxpaged" / room
    path = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    text = " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split())
    return text.split(". ")[0].rstrip(".")


def places_of(levels: Mapping[str, int], arrows: Mapping[str, list[str]]) -> dict[str, tuple[float, float]]:
    """Centre of each room's box: floors from the top, on each floor near the rooms above that import it."""
    top, places = max(levels.values()), {}
    for floor in range(top, -1, -1):
        rooms = [room for room in sorted(levels) if levels[room] == floor]
        above = {room: [places[other][0] for other in places if room in arrows[other]] for room in rooms}
        rooms.sort(key=lambda room: sum(above[room]) / len(above[room]) if above[room] else WIDTH / 2)
        first = (WIDTH - (len(rooms) - 1) * (BOX + GAP)) / 2
        for index, room in enumerate(rooms):
            places[room] = (first + index * (BOX + GAP), 60 + (top - floor) * FLOOR)
    return places


def draw(graph: Graph) -> str:
    levels, arrows = levels_of(graph), without_implied(graph)
    places = places_of(levels, arrows)
    height = 60 + max(levels.values()) * FLOOR + 60
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        '<marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#7a8aa0"/></marker>',
    ]
    parts += [_arrow(places[room], places[other]) for room, others in arrows.items() for other in others]
    parts += [_box(room, *places[room]) for room in sorted(places)]
    return "\n".join([*parts, "</svg>\n"])


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x1, y1), (x2, y2) = (start[0], start[1] + 38), (end[0], end[1] - 38)
    bend = (y2 - y1) / 2
    path = f"M{x1:.0f} {y1:.0f} C{x1:.0f} {y1 + bend:.0f} {x2:.0f} {y2 - bend:.0f} {x2:.0f} {y2:.0f}"
    return f'<path d="{path}" fill="none" stroke="#7a8aa0" stroke-width="1.3" marker-end="url(#tip)"/>'


def _box(room: str, x: float, y: float) -> str:
    fill = {"server": "#fdf0dc", "pallas_kernels": "#e4f3e4"}.get(room, "#e9f0fb")
    lines = textwrap.wrap(purpose_of(room), CHARACTERS)
    shown = lines[:LINES_SHOWN]
    if len(lines) > LINES_SHOWN:
        shown[-1] += " ..."
    left = x - BOX / 2
    box = f'<rect x="{left:.0f}" y="{y - 38:.0f}" width="{BOX}" height="76" rx="7" fill="{fill}" stroke="#5b6b82"/>'
    title = f'<text x="{left + 10:.0f}" y="{y - 20:.0f}" font-size="14" font-weight="bold">{escape(room)}</text>'
    small = [
        f'<text x="{left + 10:.0f}" y="{y - 3 + index * LINE:.0f}" font-size="11.5" fill="#333">{escape(line)}</text>'
        for index, line in enumerate(shown)
    ]
    return "\n".join([box, title, *small])


def main() -> None:
    PICTURE.write_text(draw(read_graph()), encoding="utf-8")
    print(PICTURE.relative_to(ROOT))


if __name__ == "__main__":
    main()
