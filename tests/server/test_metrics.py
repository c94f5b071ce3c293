"""What /metrics says of HTTP, of the process and of the engine, in vLLM's names and with exact counts."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from jaxpaged.frontend.metrics import EngineMetrics
from tests.fake_engine import FakeEngine
from tests.server.harness import async_llm, client, until

pytestmark = pytest.mark.anyio
LABELS = """
    block_size cache_dtype calculate_kv_scales cpu_kvcache_space_bytes cpu_offload_gb enable_prefix_caching engine
    gpu_memory_utilization is_attention_free kv_cache_memory_bytes kv_sharing_fast_prefill mamba_block_size
    mamba_cache_dtype mamba_page_size_padded mamba_ssm_cache_dtype model_name num_cpu_blocks num_gpu_blocks
    num_gpu_blocks_override prefix_caching_hash_algo sliding_window swap_space user_specified_block_size
"""


def families(text: str) -> dict[str, list]:
    return {family.name: family.samples for family in text_string_to_metric_families(text)}


def value(samples: list, name: str, **labels: str) -> float:
    found = [one.value for one in samples if one.name == name and labels.items() <= one.labels.items()]
    assert len(found) == 1, (name, labels, samples)
    return found[0]


async def test_requests_are_counted_by_route_method_and_status() -> None:
    async with client() as http:
        for _ in range(3):
            await http.post("/v1/completions", json={"prompt": "hello", "max_tokens": 2})
        await http.post("/v1/completions", json={"prompt": "hello", "max_tokens": 0})
        await http.get("/v1/responses/resp_1")
        await http.get("/nothing/here")
        await http.request("SECRET", "/v1/completions")
        for path in ("/health", "/ping", "/load", "/version", "/metrics"):
            await http.get(path)
        got = families((await http.get("/metrics")).text)
    requests = {
        (one.labels["method"], one.labels["status"], one.labels["handler"]): one.value
        for one in got["http_requests"]
        if one.name == "http_requests_total"
    }
    assert requests == {
        ("POST", "2xx", "/v1/completions"): 3,
        ("POST", "4xx", "/v1/completions"): 1,
        ("GET", "4xx", "/v1/responses/{response_id}"): 1,
        ("GET", "4xx", "none"): 1,
        ("other", "4xx", "/v1/completions"): 1,
    }
    handler = {"handler": "/v1/completions"}
    posts = {"method": "POST", **handler}
    assert value(got["http_request_duration_seconds"], "http_request_duration_seconds_count", **posts) == 4
    assert value(got["http_request_duration_highr_seconds"], "http_request_duration_highr_seconds_count") == 7
    assert value(got["http_request_size_bytes"], "http_request_size_bytes_sum", **handler) > 4 * 20
    assert value(got["http_response_size_bytes"], "http_response_size_bytes_sum", **handler) > 4 * 50


async def test_the_process_is_measured() -> None:
    async with client() as http:
        got = families((await http.get("/metrics")).text)
    for name in ("process_cpu_seconds", "process_resident_memory_bytes", "process_open_fds", "python_info"):
        assert got[name][0].value > 0


async def test_what_start_up_decided_has_vllms_labels() -> None:
    async with client() as http:
        (sample,) = families((await http.get("/metrics")).text)["vllm:cache_config_info"]
    assert set(sample.labels) >= set(LABELS.split())
    assert (sample.labels["block_size"], sample.labels["num_gpu_blocks"]) == ("16", "64")


async def test_prompts_by_source_add_up() -> None:
    engine = FakeEngine()
    engine.cached_tokens = 3
    async with client(engine) as http:
        for prompt in ([5] * 8, [6] * 4, [7] * 2):  # a cache never has more than the prompt
            await http.post("/v1/completions", json={"prompt": prompt, "max_tokens": 4, "n": 2})
        got = families((await http.get("/metrics")).text)
    samples = got["vllm:prompt_tokens_by_source"]
    by_source = {one.labels["source"]: one.value for one in samples if one.name.endswith("_total")}
    assert by_source == {"local_compute": 6, "local_cache_hit": 8, "external_kv_transfer": 0}
    assert value(got["vllm:prompt_tokens"], "vllm:prompt_tokens_total") == 14
    name = "vllm:request_prefill_kv_computed_tokens"
    assert value(got[name], f"{name}_count") == 3


async def test_no_step_is_lost_between_messages() -> None:
    """The engine makes several steps before the front end hears of the first."""
    engine = FakeEngine()
    llm = async_llm(engine)
    stream = llm.submit([await llm.prepare([5, 6])])
    for _ in range(7):
        engine.step()
    while await stream.take():
        pass
    got = families(llm.metrics.text().decode())["vllm:iteration_tokens_total"]
    assert value(got, "vllm:iteration_tokens_total_count") == engine.steps == 16
    assert value(got, "vllm:iteration_tokens_total_bucket", le="1.0") == 16
    llm.shutdown()


async def test_a_new_engine_counts_anew_and_is_awake() -> None:
    llm = async_llm()
    metrics: EngineMetrics = llm.metrics
    await llm.sleep(2)
    await until(lambda: llm.stats().sleep_level == 2)
    asleep = families(metrics.text().decode())["vllm:engine_sleep_state"]
    assert [one.labels["sleep_state"] for one in asleep if one.value] == ["discard_all"]
    llm._connection._revive()
    got = families(metrics.text().decode())["vllm:engine_sleep_state"]
    assert {one.labels["sleep_state"]: one.value for one in got} == {
        "awake": 1,
        "weights_offloaded": 0,
        "discard_all": 0,
    }
    llm.shutdown()
