"""Every family through the whole engine (pages of 16, chunks of 16, two batch mates) against transformers."""

from pathlib import Path

import numpy as np
import pytest

from jaxpaged import LLM, RequestOutput, SamplingParams
from tests.engine import tiny
from tests.models.case import NEW_TOKENS, Case, write_checkpoint
from tests.models.cases import CASES
from tests.models.test_parity import TOLERANCE

# One for each part that the engine must handle: a scaled rope, a window, norms of q and k, caps, windows of some
# layers, learned positions, parallel residuals, slopes. tests/models/test_parity.py has all, without an engine.
IN_CI = {"llama_llama3", "mistral", "qwen3", "gemma2", "gemma3", "gpt2", "gptj", "bloom", "qwen2_moe"}
PARAMETERS = [
    pytest.param(case, id=case.name, marks=() if case.name in IN_CI else pytest.mark.matrix) for case in CASES
]
MATES = ([3, 5, 8, 13, 21], list(range(40, 110)))


def all_logits(output: RequestOutput, vocab: int) -> np.ndarray:
    """[prompt + generated - 1, vocab]: row i was computed from tokens 0..i."""
    rows = [*output.prompt_logprobs[1:], *output.outputs[0].logprobs]
    return np.array([[row[token].logprob for token in range(vocab)] for row in rows], np.float32)


@pytest.mark.parametrize("case", PARAMETERS)
def test_the_engine_gives_the_logits_and_tokens_of_transformers(case: Case, tmp_path: Path) -> None:
    golden = write_checkpoint(case, tmp_path)
    vocab = golden.logits.shape[1]
    config = tiny.engine_config(
        tmp_path,
        variants=("greedy", "logprobs"),
        max_num_batched_tokens=16,
        max_num_seqs=4,
        max_logprobs=-1,
        logprobs_mode="raw_logits",
        num_gpu_blocks_override=32,
    )
    llm = LLM.from_config(config, use_tqdm_on_load=False)
    scored = SamplingParams(
        temperature=0, max_tokens=NEW_TOKENS, ignore_eos=True, logprobs=-1, prompt_logprobs=-1, detokenize=False
    )
    plain = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, ignore_eos=True, detokenize=False)
    prompts = [{"prompt_token_ids": ids} for ids in (golden.prompt, *MATES)]
    output, *_ = llm.generate(prompts, [scored, plain, plain], use_tqdm=False)

    assert list(output.outputs[0].token_ids) == golden.continuation
    logits = all_logits(output, vocab)
    inside = golden.positions < len(logits)
    error = np.abs(logits[golden.positions[inside]] - golden.logits[inside]).max()
    assert error <= TOLERANCE * np.abs(golden.logits).max()
