"""An engine whose products are oneDNN's: on weights laid out once, in programs that no cache can hold."""

from pathlib import Path

import numpy as np
import pytest

from jaxpaged.engine.engine import Engine
from jaxpaged.errors import ConfigError
from jaxpaged.quant.onednn.machine import can_try, cpu_description
from tests.engine import tiny
from tests.engine.dense import oracle_of
from tests.engine.drive import ask, run

PROMPTS = [[(7 * i * i + 3 * i + n) % tiny.VOCAB for i in range(n)] for n in (1, 5, 9, 20)]


@pytest.mark.skipif(not can_try("float32", cpu_description()), reason="a CPU without AVX2")
def test_it_serves_as_any_other(tmp_path: Path) -> None:
    """Tokens of the plain forward, alone and together; new weights; sleep. The compile cache is on and not harmed."""
    tied = {"tie_word_embeddings": True}
    model, other = (tiny.write_llama(tmp_path / str(seed), seed, **tied) for seed in (1, 2))
    engine = tiny.build(
        model,
        tiny.GREEDY,
        max_num_batched_tokens=16,
        cpu_matmul="onednn",
        persistent_cache=True,
        cache_dir=str(tmp_path / "cache"),
    )
    assert "oneDNN: weights laid out once, 5 of 5 kinds of matrices" in engine.info.report
    messages = [ask(str(len(prompt)), prompt, max_tokens=8) for prompt in PROMPTS]
    together = run(engine, messages)
    alone = [run(engine, [message]) for message in messages]
    oracle = oracle_of(model, tiny.CONTEXT)
    for prompt, answers in zip(PROMPTS, alone, strict=True):
        tokens = together[str(len(prompt))].tokens
        oracle.assert_greedy(prompt, tokens)
        assert answers[str(len(prompt))].tokens == tokens
    engine.update_weights(other)
    engine.sleep(1)
    engine.wake_up()
    oracle_of(other, tiny.CONTEXT).assert_greedy(PROMPTS[2], run(engine, messages)["9"].tokens)
    assert len(list((tmp_path / "cache").glob("onednn-*.json"))) == 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"dtype": "float16"}, "oneDNN needs float32, bfloat16 or int8 weights here"),
        ({"layer_loop": "scan"}, "oneDNN's products need the layer loop switch, not scan"),
        ({"tensor_parallel_size": 2}, "oneDNN's products cannot be divided among devices"),
    ],
)
def test_a_wish_that_cannot_be_met_says_why(llama: Path, options: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError, match=rf"cpu_matmul is onednn, which cannot be used: .*{reason}; use auto or xla"):
        tiny.build(llama, tiny.GREEDY, cpu_matmul="onednn", **options)


def test_a_small_model_keeps_the_programs_that_a_cache_can_hold(engine: Engine) -> None:
    assert "products  XLA: the model starts sooner so" in engine.info.report


def test_a_cpu_without_the_instructions_says_which(llama: Path) -> None:
    if can_try("bfloat16", cpu_description()):
        pytest.skip("this CPU has AVX512-BF16")
    with pytest.raises(ConfigError, match="oneDNN needs AVX512-BF16 for bfloat16 here"):
        tiny.build(llama, tiny.GREEDY, cpu_matmul="onednn", dtype="bfloat16")


@pytest.mark.matrix
@pytest.mark.skipif(not can_try("bfloat16", cpu_description()), reason="a CPU without AVX512-BF16")
def test_bfloat16_is_laid_out_where_the_cpu_has_it(tmp_path: Path) -> None:
    wide = {"hidden_size": 64, "intermediate_size": 128}
    model = tiny.write_llama(tmp_path / "model", **wide)
    engines = [
        tiny.build(model, tiny.GREEDY, dtype="bfloat16", max_num_batched_tokens=16, cpu_matmul=name)
        for name in ("onednn", "xla")
    ]
    assert "oneDNN: weights laid out once" in engines[0].info.report
    messages = [ask(str(len(prompt)), prompt, max_tokens=1) for prompt in PROMPTS]
    mine, plain = (run(engine, messages) for engine in engines)
    same = [mine[message].tokens == plain[message].tokens for message in mine]
    assert np.mean(same) >= 0.5, "another order of additions changes few tokens"
