"""Outputs as /inference/v1/generate shows them: token ids, no text."""

from __future__ import annotations

from typing import Any

from jaxpaged import CompletionOutput, RequestOutput
from server.answers.answer import Answer
from server.answers.dialect import encode
from server.openai.logprobs import chat_logprobs, prompt_logprobs, shown_alternatives


class GenerateDialect:
    """One prompt with n answers."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._params = answer.batch[0].params
        self._whole: list[RequestOutput] = []

    def begin(self) -> bytes:
        return b""

    def events(self, output: RequestOutput) -> bytes:
        """One event for each answer that this step brought something to."""
        self._answer.usage.note(output)
        usage = {"usage": self._answer.usage.body()} if self._answer.reply.continuous_usage else {}
        return b"".join(self._event(choices=[self._choice(one)], **usage) for one in output.outputs)

    def end(self) -> bytes:
        last = b"data: [DONE]\n\n"
        if not self._answer.reply.include_usage:
            return last
        return self._event(choices=[], usage=self._answer.usage.body()) + last

    def note(self, output: RequestOutput) -> None:
        if output.finished:
            self._answer.usage.note(output)
            self._whole.append(output)

    def body(self) -> dict[str, Any]:
        (output,) = self._whole
        answer, scored = self._answer, output.prompt_logprobs
        return {
            "request_id": answer.id,
            "created": answer.created,
            "model": answer.model,
            "choices": [self._choice(completion) for completion in output.outputs],
            "usage": answer.usage.body(),
            "prompt_logprobs": None if scored is None else prompt_logprobs(scored),
            "kv_transfer_params": None,
        }

    def _event(self, **fields: Any) -> bytes:
        return b"data: %b\n\n" % encode({"request_id": self._answer.id, **fields})

    def _choice(self, completion: CompletionOutput) -> dict[str, Any]:
        return {
            "index": completion.index,
            "logprobs": self._logprobs(completion),
            "finish_reason": completion.finish_reason,
            "stop_reason": completion.stop_reason,
            "token_ids": completion.token_ids,
        }

    def _logprobs(self, completion: CompletionOutput) -> dict[str, list[Any]] | None:
        """As chats have them, with ids for texts; the sampled token is among the best where none else is asked for."""
        if completion.logprobs is None or self._params.num_logprobs is None:
            return None
        top = shown_alternatives(self._params)
        return chat_logprobs(completion.logprobs, as_ids=True, top=None if top is None else max(1, top))
