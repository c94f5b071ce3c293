"""Turn the tokens of one request into text as they come, and end it at a stop string.

The text depends on the tokens alone, never on how they were grouped into steps: they are decoded one by one.
`tokenizers.DecodeStream` was measured at 0.6 us a token against 1.0 us here. It is not used because it cannot give up
what it holds at the end of a request, re-decodes everything since the last complete character (quadratic while a model
babbles bytes), and fails with a bare Exception where a byte-fallback decoder takes back a character.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxpaged.sampling_params import SamplingParams
from jaxpaged.text.stop_strings import StopStrings
from jaxpaged.text.vocabulary import REPLACEMENT, Vocabulary

_MAX_PENDING = 8  # tokens without a complete character; then they are no character
_MAX_PARTIAL = 3  # tokens that can be the beginning of one


class TokenDecoder:
    """Token ids to text, one at a time. The beginning of a character is held until the character is complete.

    A window of tokens is decoded again with each token, because a decoder may treat the first token of a sequence
    differently (a leading space). `context` is what came before, the prompt; its text is not repeated.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        context: Sequence[int] = (),
        *,
        skip_special_tokens: bool = True,
        spaces_between_special_tokens: bool = True,
    ) -> None:
        self._vocabulary = vocabulary
        self._skipped = vocabulary.special_ids if skip_special_tokens else frozenset[int]()
        self._bare_added = not (skip_special_tokens or spaces_between_special_tokens)
        self._after_added = False
        self._window, self._shown = self._start(context)
        self._read = len(self._window)  # tokens of the window whose text has been given out
        # a character that the prompt left half done is completed, not repeated
        self._shown = self._shown.rstrip(REPLACEMENT)

    def step(self, token_id: int) -> str:
        """The text that `token_id` completes, "" while a character is incomplete."""
        if token_id in self._skipped:
            return ""
        after_added, self._after_added = self._after_added, token_id in self._vocabulary.added
        self._window.append(token_id)
        text = self._vocabulary.decode(self._window)
        if not text.endswith(REPLACEMENT):
            if self._bare_added and after_added and self._after_added:
                self._give(text)
                return self._vocabulary.added[token_id]
            return self._give(text)
        if len(self._window) - self._read < _MAX_PENDING:
            return ""
        return self._give_up()

    def flush(self) -> str:
        """At the end: the complete characters still held. A character left incomplete is dropped."""
        text = self._vocabulary.decode(self._window)
        return self._new_text(text, self._window).rstrip(REPLACEMENT)

    def _give(self, text: str) -> str:
        new = self._new_text(text, self._window)
        rest = self._window[self._read :]
        shown = self._vocabulary.decode(rest)
        if shown or len(self._window) > _MAX_PENDING:
            self._window, text = rest, shown
        self._shown, self._read = text, len(self._window)
        return new

    def _give_up(self) -> str:
        """Give out tokens that form no character, but keep the last few: they may begin one."""
        kept = self._window[-_MAX_PARTIAL:]
        del self._window[-_MAX_PARTIAL:]
        text = self._give(self._vocabulary.decode(self._window))
        self._window += kept
        return text

    def _new_text(self, text: str, window: list[int]) -> str:
        if text.startswith(self._shown):
            return text[len(self._shown) :]
        # a byte-fallback decoder took back a character that was already given out: decode the rest by itself
        return self._vocabulary.decode(window[self._read :])

    def _start(self, context: Sequence[int]) -> tuple[list[int], str]:
        """The last few tokens of `context`, from the beginning of a character on."""
        width = _MAX_PENDING
        while True:
            window = [token_id for token_id in context[-width:] if token_id not in self._skipped]
            text = self._vocabulary.decode(window)
            if width >= len(context) or (text and not text.startswith(REPLACEMENT)):
                return window, text
            width *= 2


@dataclass(frozen=True, slots=True)
class Piece:
    """What an update brought: text to show now, the stop string that ended it, and how many of its tokens count.

    `ends`: for each token, how many characters the whole text has with it, those held back included.
    """

    text: str
    stop: str | None
    num_tokens: int
    ends: Sequence[int] = ()


class Detokenizer:
    """The text of one request: TokenDecoder, then StopStrings, with the rules of its SamplingParams."""

    def __init__(self, vocabulary: Vocabulary, params: SamplingParams, prompt_token_ids: Sequence[int] = ()) -> None:
        self._decoder = TokenDecoder(
            vocabulary,
            prompt_token_ids,
            skip_special_tokens=params.skip_special_tokens,
            spaces_between_special_tokens=params.spaces_between_special_tokens,
        )
        self._stops = StopStrings(params.stop or (), include=params.include_stop_str_in_output)
        self._show_stop_token = params.include_stop_str_in_output
        self._min_tokens = params.min_tokens
        self._num_tokens = 0
        self._length = 0

    def update(self, token_ids: Sequence[int], *, finished: bool = False, stop_token: bool = False) -> Piece:
        """Add tokens. `stop_token`: the last one ended the request, and is not shown unless the params ask for it.

        After `finished`, or once `stop` is set, the text is complete and update must not be called again.
        """
        shown: list[str] = []
        ends: list[int] = []
        for count, token_id in enumerate(token_ids, start=1):
            self._num_tokens += 1
            if stop_token and count == len(token_ids) and not self._show_stop_token:
                ends.append(self._length)
                break
            text, stop = self._push(self._decoder.step(token_id))
            shown.append(text)
            ends.append(self._length)
            if stop is not None:
                return Piece("".join(shown), stop, count, ends)
        stop = None
        if finished:
            text, stop = self._push(self._decoder.flush())
            shown += [text] if stop is not None else [text, self._stops.flush()]
            ends[-1:] = [self._length] * len(ends[-1:])
        return Piece("".join(shown), stop, len(token_ids), ends)

    def _push(self, text: str) -> tuple[str, str | None]:
        self._length += len(text)
        return self._stops.push(text, search=self._num_tokens > self._min_tokens)
