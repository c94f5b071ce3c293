"""The map for newcomers is true: every file and name of its walks exists, and its picture shows today's imports."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import draw_rooms

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "jaxpaged" / "README.md"
QUOTED = re.compile(r"`([^`]+)`")


def walks() -> str:
    text = README.read_text(encoding="utf-8")
    return text[text.index("## Four walks") : text.index("## Words")]


def places() -> Iterator[tuple[str, str | None]]:
    """(path, name) of what the walks mention; a name belongs to the path right before it."""
    for line in re.split(r"\n(?=\d+\. )", walks()):
        quoted = list(QUOTED.finditer(line))
        for index, match in enumerate(quoted):
            if "/" not in match[1]:
                continue
            after = quoted[index + 1] if index + 1 < len(quoted) else None
            is_named = after is not None and "/" not in after[1] and not line[match.end() : after.start()].strip()
            yield match[1], after[1] if is_named and after else None


def names_in(path: Path) -> set[str]:
    """What a file defines: functions and classes anywhere, and assigned names at its top."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    targets = [
        target
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    ]
    return found | {target.id for target in targets if isinstance(target, ast.Name)}


@pytest.mark.parametrize(("path", "name"), [*places()])
def test_the_walks_name_what_is_there(path: str, name: str | None) -> None:
    assert (ROOT / path).exists()
    assert name is None or name in names_in(ROOT / path)


def test_there_are_four_walks() -> None:
    assert re.findall(r"^### (.+)$", walks(), re.MULTILINE) == ["A request", "A page", "A weight", "A new family"]


def test_the_picture_shows_the_imports_of_today() -> None:
    """Else run `python scripts/draw_rooms.py`."""
    assert draw_rooms.PICTURE.read_text(encoding="utf-8") == draw_rooms.draw(draw_rooms.read_graph())


def test_rooms_that_import_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="circle: a -> b -> a"):
        draw_rooms.levels_of({"a": frozenset("b"), "b": frozenset("a")})
