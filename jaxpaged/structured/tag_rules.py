"""The rules of a structural tag's grammar while it is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from jaxpaged.params.tags import literal, spelled
from jaxpaged.structured.tag_fields import Format, mistake

Ends = tuple[str, ...]
FOLLOWED: Ends = ("",)  # in place of ends: something follows that does not begin with a certain text
Writer = Callable[["TagRules", Format, Ends], str]


@dataclass(slots=True)
class TagRules:
    """The rules of a grammar while it is written. An expression is written with the texts that end it, `ends`: free
    text has to know them. `place` is where the format that is being written stands in the structural tag."""

    special: Mapping[str, int]
    writers: Mapping[str, Writer]
    lines: list[str] = field(default_factory=list)
    place: list[str] = field(default_factory=list)

    def write_at(self, place: str, form: object, ends: Ends = ()) -> str:
        """write() of a format that stands at `place` in the one being written; after a mistake that stays known."""
        self.place.append(place)
        written = self.write(form, ends)
        self.place.pop()
        return written

    def write(self, form: object, ends: Ends = ()) -> str:
        """A format as an expression in Lark, which takes one of `ends` too where there are any."""
        kind = form.get("type") if isinstance(form, dict) else None
        writer = self.writers.get(kind) if isinstance(kind, str) else None
        if writer is None:
            raise mistake(f"of the formats {', '.join(self.writers)} are served")
        assert isinstance(form, dict)
        return writer(self, form, ends)

    def rule(self, body: str, *, lazy: bool = False) -> str:
        """A new rule; its name."""
        name = f"r{len(self.lines)}"
        self.lines.append(f"{name}{'[lazy]' if lazy else ''}: {body}")
        return name

    def any_of(self, options: list[str]) -> str:
        return options[0] if len(options) == 1 else f"({' | '.join(options)})"

    def spelled(self, text: str) -> str:
        return spelled(text, self.special)

    def then(self, body: str, ends: Ends) -> str:
        """What is no free text, and one of its ends."""
        if not ends or ends == FOLLOWED:
            return body
        return f"{body} {self.any_of([self.spelled(end) or literal(end) for end in ends])}"

    def free_text(self, ends: Ends, excludes: Ends = ()) -> str:
        """Text up to the first of `ends`, which is taken; to where the answer ends where there are none."""
        if ends == FOLLOWED:
            raise mistake(
                "free text must be the last of a sequence, or end with a const_string, a tag or its tag's end"
            )
        if not ends and not excludes:
            return "text"
        text = "TEXT"
        if excludes:
            text = f"T{len(self.lines)}"
            self.lines.append(f"{text}: TEXT & ~/(.|\\n)*{_either(excludes)}(.|\\n)*/")
        if not ends:
            return self.rule(text)
        if not all(ends):
            raise mistake("any_text must be ended by a text that is not empty")
        return self.any_of([self._up_to(text, end) for end in ends])

    def _up_to(self, text: str, end: str) -> str:
        if any(name in end for name in self.special):
            return self.rule(f"{text} {self.spelled(end)}")
        return self.rule(f"{text} {literal(end)}", lazy=True)


def _either(texts: Ends) -> str:
    return "(" + "|".join("".join(f"\\x{{{ord(character):x}}}" for character in text) for text in texts) + ")"
