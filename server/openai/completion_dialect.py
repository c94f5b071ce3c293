"""Outputs as /v1/completions shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxpaged import CompletionOutput, RequestOutput
from server.answers.answer import Answer
from server.answers.dialect import encode
from server.openai.echo_only import without_tokens
from server.openai.frame import Frame
from server.openai.logprobs import Position, completion_logprobs, prompt_logprobs

_ENDS = b'"finish_reason":%b,"stop_reason":%b,"token_ids":null,"prompt_token_ids":null'
_GOES_ON = _ENDS % (b"null", b"null")


class CompletionDialect:
    """`echoes` are the prompts as text, by prompt; empty where nothing is echoed."""

    def __init__(self, answer: Answer, echoes: list[str]) -> None:
        self._answer = answer
        self._echoes = echoes
        self._n = len(answer.batch[0].samples)
        self._logprobs = answer.batch[0].params.num_logprobs is not None
        self._plain = not (self._logprobs or answer.reply.echo or answer.reply.return_token_ids)
        self._positions = answer.positions()
        self._frame = Frame(answer, "text_completion")
        self._offsets: dict[int, int] = {}  # choice -> characters of its tokens so far
        self._echoed: dict[str, Sequence[Position]] = {}  # request id -> its prompt's log probabilities
        self._choices: list[dict[str, Any]] = []

    def begin(self) -> bytes:
        return b""

    def events(self, output: RequestOutput) -> bytes:
        """One event for each completion that this step brought something to."""
        output = self._shown(output)
        self._answer.usage.note(output)
        first = self._positions[output.request_id] * self._n
        if not self._plain:
            if output.prompt_logprobs is not None:
                self._echoed[output.request_id] = output.prompt_logprobs
            return b"".join(
                self._frame.event(encode(self._choice(output, completion, first + completion.index)))
                for completion in output.outputs
                if completion.text or completion.token_ids or completion.finish_reason
            )
        return b"".join(self._event(completion, first + completion.index) for completion in output.outputs)

    def end(self) -> bytes:
        return self._frame.last()

    def note(self, output: RequestOutput) -> None:
        if not output.finished:
            return
        output = self._shown(output)
        self._answer.usage.note(output)
        if output.prompt_logprobs is not None:
            self._echoed[output.request_id] = output.prompt_logprobs
        first = self._positions[output.request_id] * self._n
        for completion in output.outputs:
            choice = self._choice(output, completion, first + completion.index)
            wanted = self._answer.reply.prompt_logprobs
            choice["prompt_logprobs"] = prompt_logprobs(output.prompt_logprobs or []) if wanted else None
            self._choices.append(choice)

    def body(self) -> dict[str, Any]:
        choices = sorted(self._choices, key=lambda choice: choice["index"])
        return self._answer.whole("text_completion", choices)

    def _shown(self, output: RequestOutput) -> RequestOutput:
        return without_tokens(output) if self._answer.reply.echo_only else output

    def _event(self, completion: CompletionOutput, index: int) -> bytes:
        ended = completion.finish_reason
        if ended is None and not completion.text:
            return b""  # what came may become a stop string, or is part of a character
        ends = _GOES_ON if ended is None else _ENDS % (encode(ended), encode(completion.stop_reason))
        return self._frame.event(b'{"index":%d,"text":%b,"logprobs":null,%b}' % (index, encode(completion.text), ends))

    def _choice(self, output: RequestOutput, completion: CompletionOutput, index: int) -> dict[str, Any]:
        """The long form. The first one of a choice begins with the echo."""
        begins = index not in self._offsets
        self._offsets.setdefault(index, 0)
        prompt = self._positions[output.request_id]
        echo = self._echoes[prompt] if begins and self._echoes else None
        choice: dict[str, Any] = {"index": index, "text": (echo or "") + completion.text, "logprobs": None}
        if self._logprobs:
            choice["logprobs"] = self._lists(output.request_id, completion, index, echo)
        choice["finish_reason"] = completion.finish_reason
        choice["stop_reason"] = completion.stop_reason
        wanted = self._answer.reply.return_token_ids
        choice["token_ids"] = completion.token_ids if wanted else None
        choice["prompt_token_ids"] = self._answer.batch[prompt].prompt_token_ids if wanted and begins else None
        return choice

    def _lists(
        self, request_id: str, completion: CompletionOutput, index: int, echo: str | None
    ) -> dict[str, list[Any]]:
        positions: list[Position] = list(completion.logprobs or ())
        first = (0, "")
        if echo is not None:
            scored = self._echoed.get(request_id) or [None]  # a prompt of one token has nothing to score
            # the first token's text is what the others leave of the echo
            others = sum(len(next(iter(position.values())).decoded_token or "") for position in scored if position)
            prompt = self._answer.batch[self._positions[request_id]]
            first = (prompt.prompt_token_ids[0], echo[: max(0, len(echo) - others)])
            positions = [*scored, *positions]
        as_ids = self._answer.reply.tokens_as_ids
        lists, self._offsets[index] = completion_logprobs(positions, self._offsets[index], as_ids=as_ids, first=first)
        return lists
