"""LLM beside its answers: queues, sleep, calls of the engine; vLLM's methods, or a sentence."""

from __future__ import annotations

import pytest

import jaxpaged
from jaxpaged.errors import RequestError
from jaxpaged.params.adapter import LoRARequest
from jaxpaged.params.pooling import PoolingParams
from jaxpaged.sampling_params import SamplingParams
from tests.api.test_llm import llm
from tests.fake_engine import FakeEngine

PARAMS = SamplingParams(max_tokens=3)
CHAT = [{"role": "user", "content": "Hi"}]


def test_what_is_enqueued_waits_for_its_completion() -> None:
    engine = FakeEngine()
    model = llm(engine)
    first = model.enqueue(["one", "two"], PARAMS)
    second = model.enqueue_chat(CHAT, PARAMS, add_generation_prompt=False)
    (other,) = model.generate("three", PARAMS, use_tqdm=False)
    assert len(engine.requests) == 1  # nothing else has begun
    outputs = model.wait_for_completion(use_tqdm=False)
    assert [output.request_id for output in outputs] == [*first, *second]
    assert [output.prompt for output in outputs[:2]] == ["one", "two"]
    assert other.request_id not in first + second
    assert all(len(output.outputs[0].token_ids) == 3 for output in outputs)
    assert model.wait_for_completion(use_tqdm=False) == []


def test_what_is_refused_is_not_enqueued() -> None:
    model = llm()
    with pytest.raises(RequestError):
        model.enqueue(["one", []], PARAMS)
    with pytest.raises(RequestError, match="lora_request"):
        model.enqueue("one", PARAMS, lora_request=[LoRARequest("a", 1, "/a")])  # type: ignore[list-item]
    assert model.wait_for_completion(use_tqdm=False) == []


@pytest.mark.parametrize(("mode", "reason"), [("abort", "abort"), ("wait", "length"), ("keep", "length")])
def test_sleep_says_what_happens_to_the_queue(mode, reason: str) -> None:
    engine = FakeEngine()
    model = llm(engine)
    model.enqueue(["one", "two"], PARAMS)
    model.sleep(1, mode)
    assert len(engine.requests) == (2 if mode == "wait" else 0)
    assert model.is_sleeping()
    model.enqueue("three", PARAMS)
    assert model.wake_up() is True
    outputs = model.wait_for_completion(use_tqdm=False)
    assert [output.outputs[0].finish_reason for output in outputs] == [reason, reason, "length"]
    assert [output.prompt for output in outputs] == ["one", "two", "three"]


def test_sleep_takes_only_modes_there_are() -> None:
    with pytest.raises(RequestError, match="mode is 'later'"):
        llm().sleep(1, "later")  # type: ignore[arg-type]


def test_collective_rpc_calls_the_one_worker() -> None:
    engine = FakeEngine()
    model = llm(engine)
    assert model.collective_rpc("is_sleeping") == [False]
    assert model.collective_rpc(lambda worker, a, b: (worker, a, b), args=(1,), kwargs={"b": 2}) == [(engine, 1, 2)]
    assert model.collective_rpc("sleep", args=(2,)) == [None]
    assert model.is_sleeping()
    for method in ("report_device_id", "_add", "info"):
        with pytest.raises(RequestError, match="has no method"):
            model.collective_rpc(method)


@pytest.mark.parametrize(
    "method",
    ["apply_model", "release_kv_cache_memory", "init_weight_transfer_engine", "start_weight_update", "encode"],
)
def test_what_is_not_there_says_what_is(method: str) -> None:
    with pytest.raises(RequestError, match=rf"LLM\.{method}\(\) needs ") as caught:
        getattr(llm(), method)(lambda model: model)
    assert str(caught.value).endswith(".")


def test_a_profile_takes_no_schedule() -> None:
    with pytest.raises(RequestError, match="delay_iterations"):
        llm().start_profile(delay_iterations=3)  # type: ignore[arg-type]


def test_sizes_of_the_world_and_caches_of_nothing() -> None:
    model = llm()
    assert (model.get_world_size(), model.get_world_size(include_dp=False)) == (1, 1)
    assert model.reset_mm_cache() is None
    assert model.reset_prefix_cache(reset_running_requests=True) is True


def test_vllms_other_names() -> None:
    assert jaxpaged.AsyncLLMEngine is jaxpaged.AsyncLLM
    assert (PoolingParams(dimensions=4).dimensions, LoRARequest("a", 1, "/a").path) == (4, "/a")
    for wrong in (("a", 0, "/a"), ("a", 1)):
        with pytest.raises(RequestError, match="lora_"):
            LoRARequest(*wrong)
    with pytest.raises(RequestError, match="lora_request"):
        llm().generate("x", lora_request=LoRARequest("a", 1, "/a"))  # type: ignore[arg-type]
