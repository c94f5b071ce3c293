"""A message becomes a Request, or is refused: here by the sampler's variants that were compiled."""

from __future__ import annotations

import random
from typing import Any

import pytest

from jaxpaged.engine.messages import EngineRequest
from jaxpaged.engine.request_factory import RequestFactory
from jaxpaged.errors import RequestError
from jaxpaged.sampling.sampler import Sampler
from jaxpaged.sampling.stages import BUILTIN_STAGES
from jaxpaged.sampling.variant import Variant
from jaxpaged.sampling_params import SamplingParams

NEEDS: list[tuple[dict[str, Any], Variant]] = [
    ({"temperature": 0}, Variant.GREEDY),
    ({"temperature": 1}, Variant.PLAIN),
    ({"temperature": 0, "presence_penalty": 1.0}, Variant.FULL),
    ({"temperature": 0, "logprobs": 2}, Variant.LOGPROBS),
    ({"temperature": 0, "prompt_logprobs": 2}, Variant.LOGPROBS),
]


def factory(*variants: Variant) -> RequestFactory:
    sampler = Sampler(131, 20, "raw_logprobs", BUILTIN_STAGES)
    return RequestFactory(sampler, 64, None, variants, random.Random(0))


@pytest.mark.parametrize(("params", "variant"), NEEDS)
def test_a_variant_that_was_not_compiled_is_refused_by_name(params: dict[str, Any], variant: Variant) -> None:
    message = EngineRequest(1, [1, 2, 3], SamplingParams(**params), 0.0)
    assert factory(*Variant)(message).variant == variant
    assert factory(variant)(message).variant == variant
    others = [other for other in Variant if other is not variant]
    with pytest.raises(RequestError, match=rf"'{variant.name.lower()}' was not compiled.*CompileConfig\.variants"):
        factory(*others)(message)
