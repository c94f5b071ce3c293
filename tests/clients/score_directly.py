"""What test_lm_eval.py compares with: JSON requests on standard input, their scores and texts as JSON on the last line.

{"choice": [[CONTEXT, CONTINUATION], ...], "rolling": [["", TEXT], ...], "generate": [[CONTEXT, ""], ...]}
"""

from __future__ import annotations

import json
import sys

from jaxpaged import LLM, SamplingParams


def log_likelihoods(llm: LLM, pairs: list[list[str]]) -> list[float]:
    """Of each continuation after its context; an empty context is the end-of-text token."""
    tokenizer = llm.get_tokenizer()
    prompts, firsts = [], []
    for context, continuation in pairs:
        whole = tokenizer.encode(context + continuation)
        head = tokenizer.encode(context) if context else []
        if not context:
            whole, head = [tokenizer.eos_token_id, *whole], [tokenizer.eos_token_id]
        prompts.append({"prompt_token_ids": whole})
        firsts.append(len(head))
    outputs = llm.generate(prompts, SamplingParams(max_tokens=1, prompt_logprobs=1), use_tqdm=False)
    return [
        sum(
            position[token].logprob
            for token, position in zip(output.prompt_token_ids[first:], output.prompt_logprobs[first:], strict=True)
        )
        for output, first in zip(outputs, firsts, strict=True)
    ]


def main() -> None:
    asked = json.load(sys.stdin)
    llm = LLM(max_num_seqs=16, max_num_batched_tokens=64)
    params = SamplingParams(temperature=0, max_tokens=40, stop=["<|end|>"])
    outputs = llm.generate([context for context, _ in asked["generate"]], params, use_tqdm=False)
    scores = {
        "choice": log_likelihoods(llm, asked["choice"]),
        "rolling": log_likelihoods(llm, asked["rolling"]),
        "generate": [output.outputs[0].text for output in outputs],
    }
    print(json.dumps(scores))


if __name__ == "__main__":
    main()
