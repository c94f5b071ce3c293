"""What LLM.beam_search() returns. Names and fields are vLLM's; `score` and `error` are ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxpaged.engine.beams.search import normalised
from jaxpaged.outputs import CompletionOutput, RequestOutput, SampleLogprobs
from jaxpaged.sampling_params import BeamSearchParams, SamplingParams

Decode = Callable[[Sequence[int]], str]


@dataclass(slots=True)
class BeamSearchSequence:
    """One answer with its prompt: `tokens` and `text` hold both, `logprobs` the generated tokens alone.

    A stop token that ended it counts everywhere, as in vLLM; skip_special_tokens hides it from `text`.
    score = cum_logprob / generated tokens ** length_penalty.
    """

    tokens: list[int]
    logprobs: SampleLogprobs
    cum_logprob: float = 0.0
    text: str | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    score: float = 0.0


@dataclass(slots=True)
class BeamSearchOutput:
    """The `beam_width` best answers to a prompt, the best first; none where `error` says what went wrong."""

    sequences: list[BeamSearchSequence]
    error: str | None = None


def shown_of_beams(params: BeamSearchParams) -> SamplingParams:
    """What answers bring with them: the 2 x beam_width best log probabilities of each position, and no text yet."""
    return SamplingParams(
        temperature=0.0,
        max_tokens=params.max_tokens,
        ignore_eos=params.ignore_eos,
        logprobs=2 * params.beam_width,
        detokenize=False,
    )


def beam_search_output(
    output: RequestOutput, prompt: Sequence[int], params: BeamSearchParams, decode: Decode | None
) -> BeamSearchOutput:
    """`decode` turns token ids into text; without it there is none."""
    if output.error is not None:
        return BeamSearchOutput([], output.error)
    return BeamSearchOutput([_sequence(answer, prompt, params, decode) for answer in output.outputs])


def _sequence(
    answer: CompletionOutput, prompt: Sequence[int], params: BeamSearchParams, decode: Decode | None
) -> BeamSearchSequence:
    generated, stopped = answer.token_ids, answer.finish_reason == "stop"
    tokens, cumulative = [*prompt, *generated], answer.cumulative_logprob or 0.0
    return BeamSearchSequence(
        tokens=tokens,
        logprobs=answer.logprobs or [],
        cum_logprob=cumulative,
        text=None if decode is None else decode(tokens),
        finish_reason=answer.finish_reason,
        stop_reason=generated[-1] if stopped else None,
        score=normalised(cumulative, len(generated), params.length_penalty),
    )
