"""Lists that LLM takes beside its prompts: one entry for each prompt, or a ValueError that names the list."""

from __future__ import annotations

import numpy as np
import pytest

from jaxpaged.config import SchedulerConfig
from jaxpaged.sampling_params import SamplingParams
from tests.api.test_llm import PROMPTS, llm
from tests.fake_engine import FakeEngine


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("priority", []),
        ("priority", [1]),
        ("priority", [1, 2, 3]),
        ("priority", "ab"),
        ("priority", [1, None]),
        ("priority", 1.5),
        ("sampling_params", []),
        ("sampling_params", [SamplingParams()]),
        ("sampling_params", [SamplingParams(), None]),
        ("sampling_params", {}),
        ("lora_request", [None]),
        ("lora_request", []),
    ],
)
def test_lists_pair_with_the_prompts(name: str, value) -> None:
    model = llm(scheduler=SchedulerConfig(policy="priority"))
    for ask, batch in ((model.generate, PROMPTS[:2]), (model.chat, [[{"role": "user", "content": "a"}]] * 2)):
        with pytest.raises(ValueError, match=name) as caught:
            ask(batch, **{name: value}, use_tqdm=False)
        assert caught.value.param == name


def test_lists_that_pair_are_taken() -> None:
    engine = FakeEngine()
    model = llm(engine, scheduler=SchedulerConfig(policy="priority"))
    model.generate(PROMPTS[:2], priority=np.array([2, 1]), lora_request=[None, None], use_tqdm=False)
    assert [request.priority for request in engine.requests] == [2, 1]
