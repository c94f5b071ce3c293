"""use_beam_search: the n best answers of a beam search of width n, in place of n samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from jaxpaged import BeamSearchParams, SamplingParams
from server.errors import bad_request
from server.openai.schema import Sampling

_LONGEST = 2**31 - 1
# what a search can do with: the other wire fields of SamplingParams say how to sample
_SERVED = frozenset(
    "n max_tokens temperature ignore_eos seed logprobs include_stop_str_in_output skip_special_tokens "
    "spaces_between_special_tokens output_kind".split()
)


def sampling_or_beams(body: Sampling, sampling: Mapping[str, Any]) -> tuple[SamplingParams, BeamSearchParams | None]:
    """SamplingParams of a request; with use_beam_search those that show its answers, and the search.

    `sampling` are SamplingParams fields, with the model's defaults, which a search ignores. Raises ApiError for what
    was sent and a search cannot do, and RequestError.
    """
    if not body.use_beam_search:
        if body.length_penalty not in (None, 1.0):
            raise bad_request("length_penalty needs use_beam_search: true.", "length_penalty")
        return SamplingParams(**sampling), None
    if body.stream:
        raise bad_request("use_beam_search cannot be streamed: its answers are known at the end.", "stream")
    if sampling.get("structured_outputs") is not None:
        param = sampling["structured_outputs"]._param
        raise bad_request(f"{param} does not go with use_beam_search; leave it out.", param)
    _refuse_sampling(body)
    if "prompt_logprobs" in sampling and body.prompt_logprobs is None:  # asked for by both of these
        raise bad_request("echo with logprobs does not go with use_beam_search; leave one out.", "echo")
    shown = {name: value for name, value in sampling.items() if name in _SERVED - {"n", "temperature"}}
    params = SamplingParams(**shown, temperature=0.0)
    width = 1 if body.n is None else body.n
    beam = BeamSearchParams(
        beam_width=SamplingParams(n=width, temperature=1.0).n,  # its limits and its name over HTTP
        max_tokens=params.max_tokens or _LONGEST,
        ignore_eos=params.ignore_eos,
        temperature=0.0 if body.temperature is None else body.temperature,
        length_penalty=1.0 if body.length_penalty is None else body.length_penalty,
        include_stop_str_in_output=params.include_stop_str_in_output,
        skip_special_tokens=params.skip_special_tokens,
    )
    return params, beam


def _refuse_sampling(body: Sampling) -> None:
    neutral = replace(SamplingParams(), top_k=-1 if body.top_k == -1 else 0)
    for name in (field.name for field in fields(SamplingParams) if field.name not in _SERVED):
        sent = getattr(body, name, None)
        if sent is not None and getattr(SamplingParams(**{name: sent}), name) != getattr(neutral, name):
            raise bad_request(f"{name} does not go with use_beam_search; leave it out.", name)
