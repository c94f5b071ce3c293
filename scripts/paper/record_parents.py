"""Beam search over the bundled model: which beam each beam of the next step continues.

    python scripts/paper/record_parents.py        # writes scripts/paper/parents.npz

As in the paper's runs, no beam ends before the others: the end of the answer is masked (min_tokens). Each step asks for
the log probabilities of the next token of every beam and keeps the best `width` of all continuations; the prefix cache
spares computing the beams anew.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from jaxpaged import LLM, SamplingParams
from jaxpaged.outputs import Logprob, RequestOutput

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from demo_model.tasks import conversation
from paper.parents import FILE, WIDTHS

PROMPTS, STEPS = 16, 1024


class Beams:
    """The beams of one prompt: tokens and score of each, and the parents of every step so far."""

    def __init__(self, prompt: list[int], width: int) -> None:
        self.width = width
        self.tokens, self.scores = [prompt], [0.0]
        self.parents: list[list[int]] = []

    def extend(self, outputs: list[RequestOutput]) -> None:
        """Keep the best continuations; outputs are one per beam."""
        found = [
            (score + logprob.logprob, beam, token)
            for beam, (score, output) in enumerate(zip(self.scores, outputs, strict=True))
            for token, logprob in next_token(output).items()
        ]
        best = sorted(found, key=lambda each: -each[0])[: self.width]
        self.parents.append([beam for _, beam, _ in best])
        self.tokens = [[*self.tokens[beam], token] for _, beam, token in best]
        self.scores = [score for score, _, _ in best]


def next_token(output: RequestOutput) -> Mapping[int, Logprob]:
    """The likeliest next tokens."""
    logprobs = output.outputs[0].logprobs
    if not logprobs:
        raise RuntimeError(f"request {output.request_id} ended without a token: {output.outputs[0].finish_reason}")
    return logprobs[0]


def record(llm: LLM, prompts: list[list[int]], width: int, steps: int) -> NDArray[np.uint8]:
    """Parents: uint8 [prompts, steps, width]. Those of the first step are beam 0, the prompt."""
    params = SamplingParams(temperature=0, max_tokens=1, min_tokens=1, logprobs=2 * width, detokenize=False)
    groups = [Beams(prompt, width) for prompt in prompts]
    for _ in range(steps):
        batch = [tokens for group in groups for tokens in group.tokens]
        outputs = iter(llm.generate(batch, params, use_tqdm=False))
        for group in groups:
            group.extend(list(islice(outputs, len(group.tokens))))
    return np.array([group.parents for group in groups], np.uint8)


def questions(llm: LLM, count: int) -> list[list[int]]:
    """Token ids of conversations of three questions, the last one open."""
    tokenizer = llm.get_tokenizer()
    prompts = []
    for seed in range(count):
        system, examples = conversation(Random(seed), 3)
        turns = [{"role": "system", "content": system}] if system else []
        for example in examples:
            turns += [{"role": "user", "content": example.question}, {"role": "assistant", "content": example.answer}]
        ids = tokenizer.apply_chat_template(turns[:-1], add_generation_prompt=True, return_dict=False)
        prompts.append(list(ids))
    return prompts


def main() -> None:
    llm = LLM(max_logprobs=2 * max(WIDTHS), max_num_seqs=128, block_size=16, logprobs_mode="processed_logprobs")
    prompts = questions(llm, PROMPTS)
    recorded = {f"width_{width}": record(llm, prompts, width, STEPS) for width in WIDTHS}
    np.savez_compressed(FILE, allow_pickle=False, **recorded)


if __name__ == "__main__":
    main()
