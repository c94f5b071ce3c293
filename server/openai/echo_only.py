"""echo with max_tokens 0: the prompt and its log probabilities, and nothing that is generated.

The engine always generates a token with a prompt; this one is left out of the answer and its usage.
"""

from __future__ import annotations

from dataclasses import replace

from jaxpaged import CompletionOutput, RequestOutput
from server.errors import bad_request
from server.openai.schema import CompletionRequest


def is_echo_only(body: CompletionRequest) -> bool:
    """Raises ApiError for what only a generated token could have."""
    if body.max_tokens != 0 or not body.echo:
        return False
    if body.use_beam_search:
        raise bad_request("max_tokens is 0, and a beam search needs tokens; set it to 1 or more.", "max_tokens")
    if body.min_tokens:
        raise bad_request(f"min_tokens is {body.min_tokens}, more than max_tokens, which is 0.", "min_tokens")
    if body.logprob_token_ids:
        raise bad_request(
            "logprob_token_ids is about generated tokens, and max_tokens is 0; leave it out.", "logprob_token_ids"
        )
    return True


def without_tokens(output: RequestOutput) -> RequestOutput:
    """The output of a request that only echoes, as its client sees it."""
    return replace(output, outputs=[_without_tokens(completion) for completion in output.outputs])


def _without_tokens(completion: CompletionOutput) -> CompletionOutput:
    ended = completion.finish_reason
    return replace(
        completion,
        text="",
        token_ids=[],
        logprobs=None if completion.logprobs is None else [],
        finish_reason="length" if ended in ("stop", "length") else ended,
        stop_reason=None,
    )
