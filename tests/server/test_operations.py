"""Models, tokens, health, version, metrics."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.fake_engine import FakeEngine
from tests.server.harness import MODEL, async_llm, client
from tests.text.samples import hf_tokenizer

pytestmark = pytest.mark.anyio


async def samples(http) -> dict[str, float]:
    """Metric samples by name; labelled ones as name{label}."""
    found = {}
    for family in text_string_to_metric_families((await http.get("/metrics")).text):
        if not family.name.startswith(("vllm:", "jaxpaged:")):
            continue  # of the process and of HTTP: test_metrics.py
        for sample in family.samples:
            assert sample.labels["model_name"] == MODEL
            extra = sample.labels.get("finished_reason") or sample.labels.get("le") or ""
            found[sample.name + (f"{{{extra}}}" if extra else "")] = sample.value
    return found


async def test_models() -> None:
    async with client() as http:
        (card,) = (await http.get("/v1/models")).json()["data"]
        assert (card["id"], card["max_model_len"]) == (MODEL, 256)
        assert (await http.get(f"/v1/models/{MODEL}")).json() == card
        assert (await http.get("/v1/models/other")).json()["error"]["code"] == "model_not_found"


async def test_tokenize_and_back() -> None:
    tokenizer = hf_tokenizer()
    messages = [{"role": "user", "content": "hello world"}]
    async with client() as http:
        for text in ("hello world", "naïve 🙂", "<|im_end|>"):
            body = (await http.post("/tokenize", json={"prompt": text, "return_token_strs": True})).json()
            assert body["tokens"] == tokenizer.encode(text)
            assert (body["count"], body["max_model_len"]) == (len(body["tokens"]), 256)
            assert body["token_strs"] == tokenizer.convert_ids_to_tokens(body["tokens"])
            assert (await http.post("/detokenize", json={"tokens": body["tokens"]})).json() == {"prompt": text}
        body = (await http.post("/tokenize", json={"messages": messages})).json()
        assert tokenizer.decode(body["tokens"]).endswith("<|im_start|>assistant\n")
        body = (await http.post("/tokenize", json={"messages": messages, "add_generation_prompt": False})).json()
        assert tokenizer.decode(body["tokens"]).endswith("<|im_end|>\n")


async def test_health_ping_version_load() -> None:
    async with client() as http:
        assert (await http.get("/health")).status_code == 200
        assert (await http.get("/ping")).status_code == (await http.post("/ping")).status_code == 200
        assert set((await http.get("/version")).json()) == {"version"}
        assert (await http.get("/load")).json() == {"server_load": 0}
        assert (await http.get("/docs")).status_code == 200
        assert "CompletionRequest" in (await http.get("/openapi.json")).json()["components"]["schemas"]


async def test_a_dead_engine_is_unhealthy_and_says_so() -> None:
    async with client(FakeEngine(crash_after=2)) as http:
        response = await http.post("/v1/completions", json={"prompt": "hello", "max_tokens": 9})
        assert (response.status_code, response.json()["error"]["code"]) == (503, "engine_dead")
        assert (await http.get("/health")).status_code == 503
        assert (await http.post("/v1/completions", json={"prompt": "hello"})).status_code == 503


async def test_silence_while_work_waits_is_unhealthy() -> None:
    llm = async_llm(delay=10)
    llm.step_timeout = 0.05
    async with client(llm=llm) as http:
        assert (await http.get("/health")).status_code == 200
        stream = llm.submit([await llm.prepare("hello")])
        await __import__("asyncio").sleep(0.1)
        assert (await http.get("/health")).status_code == 503
        stream.close()
        assert (await http.get("/health")).status_code == 200


async def test_metrics_count_what_was_served() -> None:
    """Ten requests of 12 tokens, one of them with n=2, one stopped by a string."""
    async with client() as http:
        prompt = hf_tokenizer().encode("hello world")
        for index in range(10):
            body = {"prompt": prompt, "max_tokens": 12, "n": 2 if index == 3 else 1}
            assert (await http.post("/v1/completions", json=body)).status_code == 200
        got = await samples(http)
    assert got["vllm:generation_tokens_total"] == 11 * 12
    assert got["vllm:prompt_tokens_total"] == 10 * 2
    assert got["vllm:inter_token_latency_seconds_count"] == 11 * 11
    assert got["vllm:time_to_first_token_seconds_count"] == 11
    assert got["vllm:request_success_total{length}"] == 11
    assert got["vllm:e2e_request_latency_seconds_count"] == 10
    assert got["vllm:request_params_n_sum"] == 11
    assert got["vllm:request_prompt_tokens_sum"] == 20
    assert got["vllm:num_requests_running"] == got["vllm:num_requests_waiting"] == 0
    assert got["vllm:iteration_tokens_total_sum"] == 11 * 12
    assert got["vllm:iteration_tokens_total_count"] == got["jaxpaged:engine_steps_total"]


async def test_metrics_have_vllms_names() -> None:
    names = """
        num_requests_running num_requests_waiting num_requests_waiting_by_reason kv_cache_usage_perc
        prefix_cache_queries_total prefix_cache_hits_total prompt_tokens_total prompt_tokens_cached_total
        generation_tokens_total num_preemptions_total request_success_total iteration_tokens_total_count
        time_to_first_token_seconds_count inter_token_latency_seconds_count request_time_per_output_token_seconds_count
        e2e_request_latency_seconds_count request_queue_time_seconds_count request_inference_time_seconds_count
        request_prefill_time_seconds_count request_decode_time_seconds_count request_prompt_tokens_count
        request_generation_tokens_count request_params_n_count request_params_max_tokens_count cache_config_info
    """
    async with client() as http:
        text = (await http.get("/metrics")).text
    missing = [name for name in names.split() if f"vllm:{name}{{" not in text]
    assert missing == []
    assert "jaxpaged:compiles_after_ready_total" in text


async def test_metrics_say_what_sharing_saves() -> None:
    async with client() as http:
        await http.post("/v1/completions", json={"prompt": "hello", "max_tokens": 1})
        got = await samples(http)
    names = "saving", "waste", "logical_pages", "physical_pages"
    assert [got[f"jaxpaged:kv_{name}"] for name in names] == [0.5, 0.25, 12, 6]


async def test_metrics_stay_bounded() -> None:
    """Paths, methods, models and ids of clients are no labels."""
    async with client() as http:
        for index in range(2):  # each kind of answer once
            await http.request(f"M{index}", f"/path{index}")
            await http.post("/v1/completions", json={"prompt": "hello", "max_tokens": 1})
            await http.post("/v1/completions", json={"prompt": "hello", "model": str(index)})
        before = len((await http.get("/metrics")).text.splitlines())
        for index in range(20):
            await http.request(f"M{index}", f"/path{index}")
            await http.post("/v1/completions", json={"prompt": "hello", "max_tokens": 1, "user": str(index)})
            await http.post("/v1/completions", json={"prompt": "hello", "model": str(index)})
        assert len((await http.get("/metrics")).text.splitlines()) == before
