"""linear() with quantized weights: int8 goes through the rules, tensor parallelism and the converted checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxpaged.engine.engine import Engine
from jaxpaged.llm import LLM
from jaxpaged.quant.schemes import SCHEMES
from jaxpaged.sampling_params import SamplingParams
from tests.engine import tiny
from tests.engine.dense import Oracle, oracle_of
from tests.engine.drive import ask, run
from tests.engine.tiny import VOCAB

PROMPTS = [[(5 * i * i + n) % VOCAB for i in range(n)] for n in (1, 7, 16, 30, 50)]


@pytest.fixture(scope="module")
def int8(llama: Path) -> Oracle:
    return oracle_of(llama, tiny.CONTEXT, SCHEMES["int8"])


def dtypes(engine: Engine) -> Sequence[str]:
    return [leaf.dtype.name for leaf in engine.runner.leaves]


def test_through_llm(llama: Path, int8: Oracle, oracle: Oracle) -> None:
    variants = tiny.names(tiny.GREEDY)
    config = tiny.engine_config(llama, quantization="int8", max_num_batched_tokens=8, variants=variants)
    llm = LLM.from_config(config, use_tqdm_on_load=False)
    assert dtypes(llm.engine).count("int8") == 4 * tiny.LLAMA["num_hidden_layers"]
    params = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True, detokenize=False)
    outputs = llm.generate([{"prompt_token_ids": prompt} for prompt in PROMPTS], params, use_tqdm=False)
    for prompt, output in zip(PROMPTS, outputs, strict=True):
        int8.assert_greedy(prompt, list(output.outputs[0].token_ids))
    # Close to the model in float32, and not the same.
    logits, exact = int8.logits(PROMPTS[-1]), oracle.logits(PROMPTS[-1])
    assert abs(logits - exact).max() > 1e-3
    assert np.corrcoef(logits.ravel(), exact.ravel())[0, 1] > 0.98


def test_on_four_devices(llama: Path, int8: Oracle) -> None:
    engine = tiny.build(llama, tiny.GREEDY, quantization="int8", tensor_parallel_size=4, max_num_batched_tokens=8)
    assert jnp.dtype(jnp.int8) in {leaf.dtype for leaf in engine.runner.leaves}
    answers = run(engine, [ask(str(i), prompt, max_tokens=12) for i, prompt in enumerate(PROMPTS)])
    for i, prompt in enumerate(PROMPTS):
        int8.assert_greedy(prompt, answers[str(i)].tokens)
