"""LLM over a fake engine: batches, order, failures, progress, and what it says no to."""

from __future__ import annotations

import pytest

from jaxpaged.config import CacheConfig, EngineConfig
from jaxpaged.errors import ConfigError, InvariantError, RequestError
from jaxpaged.frontend.generation_config import GenerationConfig
from jaxpaged.frontend.metric_snapshot import Gauge
from jaxpaged.frontend.model_files import FrontEnd
from jaxpaged.llm import LLM
from jaxpaged.sampling_params import RequestOutputKind, SamplingParams
from jaxpaged.scheduling.stats import KVStats
from jaxpaged.text.vocabulary import Vocabulary
from tests.fake_engine import FakeEngine
from tests.text.samples import byte_level_backend, hf_tokenizer

PROMPTS = ["hello world", "the quick brown fox", "stop", "你好"]


def llm(engine: FakeEngine | None = None, **config) -> LLM:
    front_end = FrontEnd(hf_tokenizer(), Vocabulary(byte_level_backend()), GenerationConfig())
    return LLM.from_engine(engine or FakeEngine(), front_end, EngineConfig(**config))


def test_outputs_come_in_the_order_of_the_prompts() -> None:
    """The fake engine echoes; shorter requests finish first."""
    params = [SamplingParams(max_tokens=len(hf_tokenizer().encode(prompt))) for prompt in PROMPTS]
    outputs = llm().generate(PROMPTS, params, use_tqdm=False)
    assert [output.prompt for output in outputs] == PROMPTS
    assert [output.outputs[0].text for output in outputs] == PROMPTS
    assert all(output.finished for output in outputs)


def test_one_prompt_is_a_batch_of_one() -> None:
    for prompt in ("hello", {"prompt": "hello"}, {"prompt_token_ids": [1, 2]}, [1, 2]):
        (output,) = llm().generate(prompt, use_tqdm=False)
        assert len(output.outputs[0].token_ids) == 16
    assert llm().generate([], use_tqdm=False) == []


def test_n_completions_of_each_prompt() -> None:
    engine = FakeEngine()
    outputs = llm(engine).generate(PROMPTS, SamplingParams(n=3, seed=5, max_tokens=4), use_tqdm=False)
    assert [[completion.index for completion in output.outputs] for output in outputs] == [[0, 1, 2]] * 4
    assert [request.params.seed for request in engine.requests[:3]] == [5, 6, 7]


def test_only_final_outputs_are_made_and_params_stay_untouched() -> None:
    engine, params = FakeEngine(), SamplingParams(max_tokens=4)
    llm(engine).generate(PROMPTS, params, use_tqdm=False)
    assert {request.params.output_kind for request in engine.requests} == {RequestOutputKind.FINAL_ONLY}
    assert params.output_kind is RequestOutputKind.CUMULATIVE


def test_a_stop_string_frees_the_row_at_once() -> None:
    engine = FakeEngine()
    (output,) = llm(engine).generate("stop here, stop", SamplingParams(max_tokens=200, stop="here"), use_tqdm=False)
    assert output.outputs[0].text == "stop "
    assert engine.aborted == [1]
    assert not engine.has_work()


def test_a_small_queue_is_fed_little_by_little() -> None:
    engine = FakeEngine(max_num_seqs=2, max_queued=1)
    outputs = llm(engine).generate([[i + 1] for i in range(20)], SamplingParams(n=2, max_tokens=3), use_tqdm=False)
    assert [output.outputs[1].token_ids for output in outputs] == [[i + 1] * 3 for i in range(20)]


def test_requests_that_fail_leave_the_others_alone() -> None:
    engine = FakeEngine(fail={2: "not finite"}, refuse={7: "too large"})
    outputs = llm(engine).generate(PROMPTS[:2], SamplingParams(max_tokens=3), use_tqdm=False)
    assert [output.error for output in outputs] == [None, "not finite"]
    assert [output.outputs[0].finish_reason for output in outputs] == ["length", "error"]
    engine = FakeEngine(refuse={3: "too large"})
    outputs = llm(engine).generate(PROMPTS[:2], SamplingParams(n=2, max_tokens=3), use_tqdm=False)
    assert [output.error for output in outputs] == [None, "too large"]
    assert engine.aborted == [3, 4]


def test_a_bad_prompt_is_named_before_anything_runs() -> None:
    engine = FakeEngine()
    with pytest.raises(RequestError, match=r"^prompts\[2\]: .*vocabulary"):
        llm(engine).generate([[1], [2], [9999]], use_tqdm=False)
    with pytest.raises(RequestError, match=r"^The prompt is empty"):
        llm(engine).generate("", use_tqdm=False)
    with pytest.raises(RequestError, match="sampling_params has 2 entries for 1 prompts"):
        llm(engine).generate("a", [SamplingParams()] * 2, use_tqdm=False)
    assert engine.requests == []


def test_ctrl_c_aborts_what_is_left() -> None:
    class Interrupted(FakeEngine):
        def step(self):
            if self.steps == 3:
                raise KeyboardInterrupt
            return super().step()

    engine = Interrupted()
    language_model = llm(engine)
    with pytest.raises(KeyboardInterrupt):
        language_model.generate(PROMPTS, [SamplingParams(max_tokens=2), *[SamplingParams()] * 3], use_tqdm=False)
    assert engine.aborted == [2, 3, 4]
    assert not engine.has_work()
    engine.steps = 10
    assert len(language_model.generate(PROMPTS, use_tqdm=False)) == 4


def test_a_crash_passes_on_and_an_idle_engine_is_found_out() -> None:
    with pytest.raises(RuntimeError, match="told to crash"):
        llm(FakeEngine(crash_after=2)).generate(PROMPTS, use_tqdm=False)

    class Forgetful(FakeEngine):
        def add(self, request):
            pass

    with pytest.raises(InvariantError, match="4 requests wait"):
        llm(Forgetful()).generate(PROMPTS, use_tqdm=False)


def test_the_progress_bar_counts_requests_and_speed(capsys) -> None:
    llm().generate(PROMPTS, use_tqdm=True)
    shown = capsys.readouterr().err
    assert "Processed prompts: 100%" in shown
    assert "toks/s, output:" in shown
    totals = []

    class Bar:
        def __init__(self, total, **options):
            totals.append(total)

        def set_postfix_str(self, text, refresh):
            totals.append(text.startswith("est. speed input:"))

        def update(self, count):
            totals.append(count)

        def close(self):
            totals.append("closed")

    llm().generate("hello", use_tqdm=Bar)
    assert totals == [1, True, 1, "closed"]


def test_chat_takes_one_conversation_or_many() -> None:
    conversation = [{"role": "user", "content": "hello"}]
    (one,) = llm().chat(conversation, SamplingParams(max_tokens=3), use_tqdm=False)
    assert one.prompt == "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    many = llm().chat([conversation, conversation], use_tqdm=False)
    assert [output.prompt for output in many] == [one.prompt, one.prompt]
    with pytest.raises(RequestError, match="one of auto, string, openai"):
        llm().chat(conversation, chat_template_content_format="list")


def test_chat_takes_messages_as_clients_replay_them() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": '}}
    messages = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "tool_calls": [], "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
    ]
    template = (
        "{% for m in messages %}{{ m['content'] + '.' }}{% if m.tool_calls is defined %}"
        "{{ m.tool_calls[0].function.arguments.items() | list }}{% endif %}{% endfor %}"
    )
    (output,) = llm().chat(messages, SamplingParams(max_tokens=1), use_tqdm=False, chat_template=template)
    assert output.prompt == "hello.hi..[]"


def test_chat_passes_tools_to_the_template() -> None:
    tools = [{"type": "function", "function": {"name": "add"}}]
    (output,) = llm().chat(
        [{"role": "user", "content": "hello"}],
        SamplingParams(max_tokens=1),
        use_tqdm=False,
        tools=tools,
        chat_template="{{ tools[0].function.name }}: {{ messages[0].content }}",
    )
    assert output.prompt == "add: hello"


def test_tokenizer_defaults_and_metrics() -> None:
    language_model = llm()
    assert language_model.get_tokenizer().encode("hello") == hf_tokenizer().encode("hello")
    assert language_model.get_default_sampling_params() == SamplingParams()
    metrics = {metric.name: metric for metric in language_model.get_metrics()}
    assert isinstance(metrics["vllm:num_requests_running"], Gauge)
    assert repr(language_model) == "LLM(model='fake')"
    bare = LLM.from_engine(FakeEngine(), FrontEnd(None, None, GenerationConfig()), EngineConfig())
    with pytest.raises(RequestError, match="skip_tokenizer_init"):
        bare.get_tokenizer()
    assert bare.generate([1, 2], use_tqdm=False)[0].outputs[0].text == ""


def test_the_engine_is_reached() -> None:
    engine = FakeEngine()
    language_model = llm(engine)
    assert language_model.reset_prefix_cache()
    language_model.update_weights({"model.norm.weight": 0})
    language_model.sleep(level=2)
    language_model.wake_up()
    language_model.reset_kv_stats()
    assert engine.calls == [
        ("reset_prefix_cache",),
        ("update_weights", "model.norm.weight"),
        ("sleep", 2),
        ("wake_up",),
        ("reset_kv_stats",),
    ]
    assert language_model.kv_stats() == KVStats(0.5, 0.25, 12.0, 6.0)
    metrics = {metric.name: metric.value for metric in language_model.get_metrics()}
    assert [metrics[f"jaxpaged:kv_{name}"] for name in ("saving", "waste", "logical_pages", "physical_pages")] == [
        0.5,
        0.25,
        12.0,
        6.0,
    ]


def test_a_cached_prefix_is_computed_pinned_and_released() -> None:
    engine = FakeEngine()
    language_model = llm(engine)
    with language_model.cache_prefix({"prompt": PROMPTS[1], "cache_salt": "team"}) as prefix:
        tokens = tuple(hf_tokenizer().encode(PROMPTS[1]))
        assert prefix.num_tokens == len(tokens)
        assert [request.params.max_tokens for request in engine.requests] == [1]
        assert engine.calls == [("pin_prefix", prefix.name, "team", tokens)]
    assert engine.calls[1:] == [("unpin_prefix", prefix.name)]


def test_the_beginning_of_a_conversation_can_be_cached() -> None:
    engine = FakeEngine()
    language_model, system = llm(engine), {"role": "system", "content": "be brief"}
    prefix = language_model.cache_prefix([system])
    language_model.chat([system, {"role": "user", "content": "hello"}], use_tqdm=False)
    cached, asked = (request.prompt_token_ids for request in engine.requests)
    assert asked[: prefix.num_tokens] == cached


def test_a_prefix_that_cannot_be_cached() -> None:
    with pytest.raises(RequestError, match="not finite"):
        llm(FakeEngine(fail={1: "not finite"})).cache_prefix("hello")
    with pytest.raises(RequestError, match="enable_prefix_caching=True"):
        llm(cache=CacheConfig(enable_prefix_caching=False)).cache_prefix("hello")


@pytest.mark.parametrize(
    ("method", "needs"),
    [
        ("encode", "pooling"),
        ("embed", "embedding"),
        ("classify", "classification"),
        ("score", "cross-"),
        ("reward", "reward"),
    ],
)
def test_methods_for_other_models_say_which(method, needs) -> None:
    with pytest.raises(RequestError, match=rf"LLM\.{method}\(\) needs .*{needs}"):
        getattr(llm(), method)("hello")


def test_what_is_not_there_yet_says_so() -> None:
    with pytest.raises(RequestError, match="lora_request is not there yet"):
        llm().generate("hello", lora_request="x")


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"max_num_seq": 3}, TypeError, "'max_num_seq'; did you mean 'max_num_seqs'"),
        ({"enforce_eger": True}, TypeError, "did you mean 'enforce_eager'"),
        ({"qqqqqq": 1}, TypeError, "unexpected keyword argument 'qqqqqq'$"),
        ({"kv_cache_dtype": "fp8"}, ConfigError, "kv_cache_dtype='fp8' cannot be had: the cache has the model's dtype"),
        ({"enable_lora": True, "enforce_eager": True}, ConfigError, "enable_lora=True cannot be had"),
        ({"runner": "pooling"}, ConfigError, "only generation"),
        ({"max_model_len": 0}, ConfigError, "max_model_len is 0"),
        ({"block_size": 24}, ConfigError, "power of two"),
        ({"max_num_seqs": 64, "max_num_batched_tokens": 8}, ConfigError, "smaller than max_num_seqs"),
        ({"chat_template": "nowhere.jinja"}, ConfigError, "cannot be read"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_loaded(arguments, error, says) -> None:
    with pytest.raises(error, match=says):
        LLM("no/such-model", **arguments)
