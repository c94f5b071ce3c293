"""Which parser reads the answers of the model behind the server, chosen once at start-up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxpaged import Calls, ConfigError, Thought
from server.answers.assistant import AssistantDelta, AssistantParser
from server.answers.reasoning.block import ReasoningBlock, Tags
from server.answers.reasoning.families import HARMONY, HARMONY_MARKS, TAGS, detect_reasoning, reasoning_names
from server.answers.tools.choice import NO_TOOLS, ToolUse
from server.answers.tools.families import (
    FAMILIES,
    Grammar,
    ToolFamily,
    call_id,
    detect_family,
    family_names,
    find_family,
)
from server.answers.tools.forms import FORMS
from server.answers.tools.harmony import Harmony
from server.answers.tools.json_calls import NamedCall, forced_calls, plain
from server.answers.tools.sink import Sink
from server.answers.tools.source import Source, Steps, markers
from server.answers.tools.toolbox import Toolbox

AUTO, NONE = "auto", "none"


class AnswerParser:
    """Runs `steps`, which read `source` and write to `sink`, as far as the text goes."""

    def __init__(self, source: Source, sink: Sink, steps: Steps[None]) -> None:
        self._source = source
        self._sink = sink
        self._steps = steps

    def feed(self, text: str) -> AssistantDelta:
        self._source.feed(text)
        next(self._steps, None)
        return self._sink.take()

    def end(self) -> AssistantDelta:
        self._source.ended = True
        next(self._steps, None)
        return self._sink.end()

    @property
    def thoughts(self) -> Sequence[tuple[int, int | None]]:
        return self._sink.thoughts


@dataclass(frozen=True, slots=True)
class AnswerParsers:
    """The model's formats of tool calls and of reasoning, None where it has none; `special`: its special tokens."""

    tools: ToolFamily | None = None
    reasoning: str | None = None
    special: frozenset[str] = frozenset()

    def report(self) -> str:
        """For the start-up log."""
        return f"tool calls: {self.tools.name if self.tools else 'none'}, reasoning: {self.reasoning or 'none'}"

    def keep_special(self, use: ToolUse) -> bool:
        """Whether special tokens must stay in the text for the parser to see."""
        return not self.special.isdisjoint(self._spellings(use))

    def parser(
        self, use: ToolUse = NO_TOOLS, prompt: str = "", *, begun: str = "", show_special: bool = False
    ) -> Callable[[], AssistantParser] | None:
        """Makes a parser for each answer to `prompt`; None where all of it is content.

        `begun`: the first part of the answer, where the conversation gives it. `show_special`: the client wants special
        tokens to stay in reasoning and content.
        """
        grammar = self._grammar(use)
        tags = TAGS.get(self.reasoning or "")
        if grammar is plain and tags is None:
            return None
        block = self._block(tags, use, tags.is_open(prompt, begun)) if tags else None
        hidden = markers(*self.special) if self.keep_special(use) and not show_special else None
        new_id = self.tools.new_id if self.tools else call_id
        toolbox = use.toolbox()

        def make() -> AssistantParser:
            source, sink = Source(), Sink(new_id, hidden=hidden, one_call=not use.parallel)
            return AnswerParser(source, sink, _answer(source, sink, block, grammar, toolbox))

        return make

    def thought(self, prompt: str, begun: str = "") -> Thought | None:
        """What an answer to `prompt` that must have a form may hold before it."""
        tags = TAGS.get(self.reasoning or "")
        if tags is None:
            return None
        opened = tags.is_open(prompt, begun)
        return Thought(tags.begin, tags.end, opened) if opened or tags.may_begin(prompt, begun) else None

    def thought_opened(self, prompt: str, begun: str = "") -> bool | None:
        """Whether an answer to `prompt` begins within a thought; None where the format is not known."""
        tags = TAGS.get(self.reasoning or "")
        return None if tags is None else tags.is_open(prompt, begun)

    def marks(self) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        """What a thought begins and ends with, in all spellings."""
        if self.reasoning == HARMONY:
            return HARMONY_MARKS
        tags = TAGS.get(self.reasoning or "")
        return None if tags is None else (tags.begin, tags.end)

    def calls(self, use: ToolUse) -> Calls | None:
        """What an answer that must have a form may be instead of it."""
        if self.tools is None or not use.active or use.forced:
            return None
        return Calls(tuple(use.toolbox().parameters), FORMS[self.tools.name], use.parallel, self.tools.markers)

    def _grammar(self, use: ToolUse) -> Grammar:
        if use.function is not None:
            return NamedCall(use.function)
        if use.forced:
            return forced_calls
        if self.reasoning == HARMONY or self.tools is FAMILIES["openai"]:
            return Harmony(reasoning=self.reasoning == HARMONY, calls=use.active)
        return self.tools.grammar if self.tools is not None and use.active else plain

    def _spellings(self, use: ToolUse) -> tuple[str, ...]:
        """What the parser has to see."""
        tags = TAGS.get(self.reasoning or "")
        seen = (*tags.begin, *tags.end, *(tags.response or ())) if tags else ()
        if self.reasoning == HARMONY:
            seen += FAMILIES["openai"].markers
        if self.tools is not None and (use.active or self.tools is FAMILIES["openai"]):
            seen += self.tools.markers
        return seen

    def _block(self, tags: Tags, use: ToolUse, opened: bool) -> ReasoningBlock:
        if use.forced:
            return ReasoningBlock(tags, opened, forced=True)
        return ReasoningBlock(tags, opened, self.tools.opening if self.tools is not None and use.active else ())


NO_PARSERS = AnswerParsers()


def _answer(
    source: Source, sink: Sink, block: ReasoningBlock | None, grammar: Grammar, toolbox: Toolbox
) -> Steps[None]:
    if block is not None:
        yield from block(source, sink)
    yield from grammar(source, sink, toolbox)


def choose_parsers(
    template: str, special: frozenset[str], *, tool_parser: str = AUTO, reasoning_parser: str = AUTO
) -> AnswerParsers:
    """By name, or from the chat template. Raises ConfigError for a name that there is not."""
    check_parser_names(tool_parser, reasoning_parser)
    tools = detect_family(template) if tool_parser == AUTO else find_family(tool_parser)
    reasoning = detect_reasoning(template) if reasoning_parser == AUTO else reasoning_parser
    return AnswerParsers(tools, None if reasoning == NONE else reasoning, special)


def check_parser_names(tool_parser: str, reasoning_parser: str) -> None:
    """Raises ConfigError."""
    for flag, name, names in (
        ("--tool-call-parser", tool_parser, family_names()),
        ("--reasoning-parser", reasoning_parser, reasoning_names()),
    ):
        if name not in (AUTO, NONE, *names):
            raise ConfigError(f"There is no {flag} {name!r}; choose auto, none or one of {', '.join(names)}.")
