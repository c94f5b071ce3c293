"""The bundled model, as it is shipped: its files, its chat template and its answers through LLM."""

import json
from pathlib import Path
from random import Random

import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

import jaxpaged
from demo_model.tasks import NEVER_HELD_OUT, TASKS, draw
from jaxpaged import LLM, BeamSearchParams, SamplingParams

DEMO = Path(jaxpaged.__file__).parent / "assets" / "demo"
MEGABYTE = 10**6


@pytest.fixture(scope="module")
def llm() -> LLM:
    return LLM(max_num_seqs=16, max_num_batched_tokens=64, seed=0)


def test_it_fits_into_the_repository() -> None:
    assert sum(path.stat().st_size for path in DEMO.rglob("*")) <= 6 * MEGABYTE


def test_it_is_what_the_issue_asked_for() -> None:
    config = json.loads((DEMO / "config.json").read_text())
    assert config["architectures"] == ["Qwen3ForCausalLM"]
    assert config["max_position_embeddings"] == 2048
    tensors = load_file(DEMO / "model.safetensors")
    assert {str(tensor.dtype) for tensor in tensors.values()} == {"bfloat16"}
    assert all(np.isfinite(tensor.astype(np.float32)).all() for tensor in tensors.values())
    assert Tokenizer.from_file(str(DEMO / "tokenizer.json")).get_vocab_size() == config["vocab_size"] <= 2048


def test_the_tokenizer_knows_every_text() -> None:
    tokenizer = Tokenizer.from_file(str(DEMO / "tokenizer.json"))
    for text in ("Sort these words: pear fig", "12 + 345", "naïve café 日本語 🙂", "a\n\tb  c"):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_the_template_marks_every_turn(llm: LLM) -> None:
    chat = [("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello!"), ("user", "Bye")]
    messages = [{"role": role, "content": content} for role, content in chat]
    text = llm.get_tokenizer().apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == "<|system|>Be kind.<|end|><|user|>Hi<|end|><|assistant|>Hello!<|end|><|user|>Bye<|end|><|assistant|>"


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.__name__)
def test_it_answers_what_it_has_never_seen(llm: LLM, task) -> None:
    """What its card promises, through the engine."""
    rng = Random(3)
    examples = [draw(rng, task, held_out=task not in NEVER_HELD_OUT) for _ in range(100)]
    chats = [[{"role": "user", "content": example.question}] for example in examples]
    outputs = llm.chat(chats, SamplingParams(temperature=0, max_tokens=96), use_tqdm=False)
    right = [output.outputs[0].text == example.answer for output, example in zip(outputs, examples, strict=True)]
    assert sum(right) >= 0.95 * len(right)
    assert {output.outputs[0].finish_reason for output in outputs} == {"stop"}


def test_it_greets_a_newcomer(llm: LLM) -> None:
    greedy = SamplingParams(temperature=0, max_tokens=96)
    for question, word in {"hello": "Hello", "Who are you?": "jaxpaged", "what can you do?": "add"}.items():
        assert word in llm.chat([{"role": "user", "content": question}], greedy, use_tqdm=False)[0].outputs[0].text


def test_its_best_beams_are_better_than_greedy_answers_and_score_what_the_model_says(llm: LLM) -> None:
    prompts = ["The", "Sort these words: pear fig", "12 + 345", "Count"]
    greedy = llm.generate(prompts, SamplingParams(temperature=0, max_tokens=12, logprobs=0), use_tqdm=False)
    params = BeamSearchParams(beam_width=4, max_tokens=12, length_penalty=0.0)
    gained = 0.0
    for prompt, one, output in zip(prompts, greedy, llm.beam_search(prompts, params), strict=True):
        scores = [sequence.score for sequence in output.sequences]
        assert scores == sorted(scores, reverse=True)
        assert len({tuple(sequence.tokens) for sequence in output.sequences}) == 4
        assert all((sequence.text or "").startswith(prompt) for sequence in output.sequences)
        again = llm.generate(
            [{"prompt_token_ids": sequence.tokens} for sequence in output.sequences],
            SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=0),
            use_tqdm=False,
        )
        for sequence, scored in zip(output.sequences, again, strict=True):
            positions = (scored.prompt_logprobs or [])[-len(sequence.logprobs) :]
            said = sum(next(iter(position.values())).logprob for position in positions if position)
            assert sequence.cum_logprob == pytest.approx(said, abs=0.1)  # weights and activations are bfloat16
        gained += scores[0] - (one.outputs[0].cumulative_logprob or 0.0)
    assert gained > 1
