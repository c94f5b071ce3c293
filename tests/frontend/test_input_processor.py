"""What callers give is checked once, completed, and split into sequences."""

from __future__ import annotations

import numpy as np
import pytest

from jaxpaged.config import EngineConfig, ModelConfig, SchedulerConfig
from jaxpaged.errors import ConfigError, RequestError
from jaxpaged.frontend.generation_config import GenerationConfig
from jaxpaged.frontend.input_processor import InputProcessor
from jaxpaged.frontend.model_files import FrontEnd, read_front_end
from jaxpaged.sampling_params import SamplingParams
from tests.fake_engine import FakeEngine
from tests.text.samples import EOS, START, byte_level_backend, hf_tokenizer, model_directory

CONTEXT, VOCABULARY = 64, 512


def processor(front_end: FrontEnd | None = None, **model) -> InputProcessor:
    front_end = front_end or FrontEnd(hf_tokenizer(), None, GenerationConfig((3, 600)))
    info = FakeEngine(vocab_size=VOCABULARY, max_model_len=CONTEXT).info
    return InputProcessor(EngineConfig(ModelConfig(**model)), info, front_end)


def test_text_becomes_one_engine_request() -> None:
    prepared = processor().process("7", "hello world", SamplingParams(max_tokens=5))
    (child,) = prepared.samples
    assert (prepared.request_id, child.request_id) == ("7", 1)
    assert prepared.prompt == "hello world"
    assert child.prompt_token_ids == prepared.prompt_token_ids == hf_tokenizer().encode("hello world")
    assert child.eos_token_ids == (3,)  # 600 is no logit of this model
    assert child.params.max_tokens == 5


def test_special_tokens_of_a_text_prompt_are_parsed() -> None:
    """generate() gives the caller full control, unlike the contents of chat()."""
    prepared = processor().process("0", f"{START}user")
    assert prepared.prompt_token_ids[0] == byte_level_backend().token_to_id(START)


def test_n_sequences_with_their_own_ids_and_seeds() -> None:
    params = SamplingParams(n=3, seed=10, prompt_logprobs=2)
    front_end = processor()
    children = front_end.process("a", [1, 2], params).samples
    assert [child.request_id for child in children] == [1, 2, 3]
    assert [child.request_id for child in children[0].children] == [2, 3]
    assert [child.request_id for child in front_end.process("a", [1, 2], params).samples] == [4, 5, 6]
    assert [child.params.seed for child in children] == [10, 11, 12]
    assert [child.params.n for child in children] == [1, 1, 1]
    assert [child.params.prompt_logprobs for child in children] == [2, None, None]
    for seed, last in ((2**63 - 1, -(2**63)), (-2, -(2**63))):  # -1 would mean no seed
        children = processor().process("a", [1, 2], SamplingParams(n=2, seed=seed)).samples
        assert [child.params.seed for child in children] == [seed, last]
    unseeded = processor().process("a", [1, 2], SamplingParams(n=2)).samples
    assert [child.params.seed for child in unseeded] == [None, None]


@pytest.mark.parametrize(("max_tokens", "given"), [(None, 62), (16, 16), (1000, 62)])
def test_generation_ends_with_the_context(max_tokens, given) -> None:
    prepared = processor().process("0", [1, 2], SamplingParams(max_tokens=max_tokens))
    assert prepared.params.max_tokens == given


def test_the_callers_params_are_left_alone() -> None:
    params = SamplingParams(max_tokens=None, n=2, seed=1)
    processor().process("0", [1, 2], params)
    assert (params.max_tokens, params.n, params.seed) == (None, 2, 1)


def test_defaults_come_from_the_model(tmp_path) -> None:
    model_directory(tmp_path, generation={"temperature": 0.5, "top_k": 3, "eos_token_id": [1, 2]})
    inputs = processor(read_front_end(ModelConfig(), tmp_path))
    assert inputs.default_params().temperature == 0.5
    prepared = inputs.process("0", [1])
    assert (prepared.params.temperature, prepared.params.top_k, prepared.params.max_tokens) == (0.5, 3, 16)
    assert prepared.samples[0].eos_token_ids == tuple(sorted({1, 2, byte_level_backend().token_to_id(EOS)}))


def test_a_chat_is_rendered_then_checked() -> None:
    prepared = processor().process_chat("0", [{"role": "user", "content": "hello"}], cache_salt="s")
    assert prepared.prompt == "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    assert prepared.samples[0].cache_salt == "s"


def test_embeddings_go_to_the_engine_as_bytes() -> None:
    embeds = np.arange(6, dtype=np.float32).reshape(3, 2)
    prepared = processor(enable_prompt_embeds=True).process("0", {"prompt_embeds": embeds})
    assert prepared.samples[0].prompt_embeds == embeds.tobytes()
    assert len(prepared.prompt_token_ids) == 3


@pytest.mark.parametrize(
    ("prompt", "params", "says"),
    [
        ("", {}, "empty"),
        ([], {}, "empty"),
        (
            [1] * CONTEXT,
            {},
            f"64 tokens or more, .* maximum context length is {CONTEXT} tokens.*Shorten the prompt to 63",
        ),
        ("hello " * 200, {}, "Shorten the prompt"),
        ("x" * 100_000, {}, "Shorten the prompt"),
        ([1, -1], {}, "Token id -1 is not in the model's vocabulary"),
        ([VOCABULARY], {}, r"Token id 512 .* \(0 to 511\)"),
        ([2**32 + 5], {}, "Token id 4294967301"),
        ([1] * 60, {"min_tokens": 5, "max_tokens": 10}, "leaves room for 4"),
        ({"prompt_embeds": np.ones((2, 2))}, {}, "enable_prompt_embeds=True"),
    ],
)
def test_what_cannot_be_served_is_refused_in_words(prompt, params, says) -> None:
    with pytest.raises(RequestError, match=says):
        processor().process("0", prompt, SamplingParams(**params))


def test_the_longest_prompt_leaves_one_token() -> None:
    assert processor().process("0", [1] * (CONTEXT - 1)).params.max_tokens == 1


def test_sampling_params_are_checked_against_the_model() -> None:
    with pytest.raises(RequestError, match="logprobs"):
        processor(max_logprobs=5).process("0", [1], SamplingParams(logprobs=6))
    with pytest.raises(RequestError, match="stop_token_ids"):
        processor().process("0", [1], SamplingParams(stop_token_ids=[VOCABULARY]))


def test_bad_words_become_tokens() -> None:
    prepared = processor().process("0", [1], SamplingParams(bad_words=["hello world"]))
    spelled = hf_tokenizer().encode("hello world", add_special_tokens=False)
    assert spelled in (prepared.samples[0].params._bad_words_token_ids or [])
    with pytest.raises(RequestError, match="bad_words needs a tokenizer"):
        processor(FrontEnd(None, None, GenerationConfig())).process("0", [1], SamplingParams(bad_words=["hello"]))


def test_priority_needs_the_priority_policy() -> None:
    with pytest.raises(RequestError, match="scheduling_policy='priority'"):
        processor().process("0", [1], priority=1)
    config = EngineConfig(scheduler=SchedulerConfig(policy="priority"))
    inputs = InputProcessor(config, FakeEngine().info, FrontEnd(hf_tokenizer(), None, GenerationConfig()))
    assert inputs.process("0", [1], priority=1).samples[0].priority == 1


def test_a_tokenizer_of_another_model_is_refused() -> None:
    front_end = FrontEnd(hf_tokenizer(), None, GenerationConfig())
    with pytest.raises(ConfigError, match="do not belong together"):
        InputProcessor(EngineConfig(), FakeEngine(vocab_size=100).info, front_end)


def test_tokenization_kwargs() -> None:
    inputs = processor()
    cut = {"truncation": True, "max_length": 4}
    assert len(inputs.process("0", "hello " * 100, tokenization_kwargs=cut).prompt_token_ids) == 4
    with pytest.raises(RequestError, match="has no padding here"):
        inputs.process("0", "a", tokenization_kwargs={"padding": True})


def test_without_a_tokenizer_ids_are_served_and_text_is_refused() -> None:
    inputs = processor(FrontEnd(None, None, GenerationConfig()))
    assert inputs.process("0", [1, 2]).prompt is None
    with pytest.raises(RequestError, match="skip_tokenizer_init"):
        inputs.process("0", "hello")
    with pytest.raises(RequestError, match="skip_tokenizer_init"):
        inputs.process_chat("0", [{"role": "user", "content": "hello"}])


def test_extra_args_need_somebody_who_reads_them() -> None:
    with pytest.raises(RequestError, match="extra_args are for logits_processors, and this engine has none"):
        processor().process("a", [1, 2], SamplingParams(extra_args={"mine": 1}))


@pytest.mark.parametrize(("side", "kept"), [(None, slice(-3, None)), ("left", slice(-3, None)), ("right", slice(3))])
def test_prompts_are_cut_on_the_side_that_is_named(side, kept) -> None:
    ids = hf_tokenizer().encode("hello world, the quick brown fox")
    for prompt in ("hello world, the quick brown fox", ids, {"prompt_token_ids": ids}):
        kwargs = {"truncate_prompt_tokens": 3, "truncation_side": side}
        assert processor().process("0", prompt, tokenization_kwargs=kwargs).prompt_token_ids == ids[kept]
    kwargs = {"truncate_prompt_tokens": -1, "truncation_side": side}
    long = processor().process("0", ids * 30, SamplingParams(max_tokens=9), tokenization_kwargs=kwargs)
    assert long.prompt_token_ids == ((ids * 30)[: CONTEXT - 9] if side == "right" else (ids * 30)[9 - CONTEXT :])


@pytest.mark.parametrize(
    ("kwargs", "param"),
    [
        ({"truncate_prompt_tokens": 0}, "truncate_prompt_tokens"),
        ({"truncate_prompt_tokens": "3"}, "truncate_prompt_tokens"),
        ({"truncate_prompt_tokens": -2}, "truncate_prompt_tokens"),
        ({"truncation_side": "middle"}, "truncation_side"),
    ],
)
def test_a_cut_that_cannot_be_made_is_refused(kwargs, param) -> None:
    with pytest.raises(RequestError, match=param) as caught:
        processor().process("0", "hello", tokenization_kwargs=kwargs)
    assert caught.value.param == param
