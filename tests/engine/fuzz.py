"""Random requests that use everything, in a process of their own: `python -m tests.engine.fuzz DIRECTORY COUNT`.

Prints, as JSON, how many programs were compiled after ready and what happened. In a fresh process nothing that earlier
tests compiled can hide a compile.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import tests.conftest  # noqa: F401 - strict JAX, as in the tests
from jaxpaged.engine.engine import Engine
from jaxpaged.engine.messages import ChildSample, EngineRequest
from jaxpaged.sampling_params import BeamSearchParams, SamplingParams
from tests.engine import tiny
from tests.engine.drive import Answer, Answers, assert_idle
from tests.engine.tiny import VOCAB
from tests.names import name_of, number

Rng = np.random.Generator
EOS = 2


def random_params(rng: Rng) -> dict[str, Any]:
    """A few of the parameters of SamplingParams; over many calls each of them."""

    def ids(most: int) -> list[int]:
        return rng.choice(VOCAB, rng.integers(1, most + 1), replace=False).tolist()

    chosen = {
        "temperature": lambda: float(rng.choice([0.0, 0.3, 1.0, 1.7])),
        "top_p": lambda: float(rng.uniform(0.1, 1)),
        "top_k": lambda: int(rng.integers(0, 50)),
        "min_p": lambda: float(rng.uniform(0, 0.3)),
        "seed": lambda: int(rng.integers(0, 2**40)),
        "presence_penalty": lambda: float(rng.uniform(-2, 2)),
        "frequency_penalty": lambda: float(rng.uniform(-2, 2)),
        "repetition_penalty": lambda: float(rng.uniform(0.5, 2)),
        "stop_token_ids": lambda: ids(4),
        "ignore_eos": lambda: True,
        "min_tokens": lambda: int(rng.integers(0, 4)),
        "logprobs": lambda: int(rng.integers(0, 6)),
        "prompt_logprobs": lambda: int(rng.integers(0, 4)),
        "logit_bias": lambda: {token: float(rng.uniform(-5, 5)) for token in ids(6)},
        "allowed_token_ids": lambda: ids(40),
        "bad_words": lambda: ["one", "two"],
        "skip_reading_prefix_cache": lambda: True,
        "detokenize": lambda: False,
    }
    names = rng.choice(list(chosen), rng.integers(0, 6), replace=False)
    params: dict[str, Any] = {name: chosen[name]() for name in names}
    if "logprobs" not in params and rng.random() < 0.1:
        params["logprob_token_ids"] = ids(5)
    if "bad_words" in params:
        params["_bad_words_token_ids"] = [ids(3), ids(1)]
    return params


def random_request(rng: Rng, name: str) -> EngineRequest:
    shared = [7] * 32 if rng.random() < 0.4 else []
    prompt = shared + rng.integers(0, VOCAB, rng.integers(1, 60)).tolist()
    embeds = None
    if rng.random() < 0.05:
        embeds = rng.standard_normal((len(prompt), tiny.LLAMA["hidden_size"])).astype(np.float32).tobytes()
    params = SamplingParams(max_tokens=int(rng.integers(4, 40)), **random_params(rng))
    others = int(rng.integers(1, 11)) if rng.random() < 0.1 else 0
    beam = None
    if embeds is None and rng.random() < 0.1:
        others, most = int(rng.integers(0, 6)), int(rng.integers(1, 20))
        params = replace(params, max_tokens=most, min_tokens=0)
        beam = BeamSearchParams(beam_width=others + 1, max_tokens=most, length_penalty=float(rng.uniform(-1, 2)))
    return EngineRequest(
        number(name),
        prompt,
        params,
        arrival=float(rng.uniform()),
        eos_token_ids=(EOS,),
        priority=int(rng.integers(0, 3)),
        cache_salt="salt" if rng.random() < 0.1 else None,
        prompt_embeds=embeds,
        beam=beam,
        children=tuple(
            ChildSample(number(f"{name}.{i}"), replace(params, prompt_logprobs=None)) for i in range(others)
        ),
    )


def fuzz(engine: Engine, count: int, seed: int = 0) -> tuple[Answers, int, int]:
    """Requests arrive in bursts, some are aborted on the way. Returns the answers, how many were aborted, and how many
    were beam searches."""
    rng = np.random.default_rng(seed)
    waiting = [random_request(rng, f"r{i}") for i in range(count)]
    answers: Answers = {}
    aborted, searches = 0, sum(request.beam is not None for request in waiting)
    while waiting or engine.has_work():
        for _ in range(int(rng.poisson(0.8))):
            if waiting:
                request = waiting.pop()
                engine.add(request)
                answers |= {name_of(sample.request_id): Answer() for sample in (request, *request.children)}
        live = list(engine.scheduler.requests)
        if live and rng.random() < 0.05:
            victim = live[rng.integers(len(live))]
            beams = engine.scheduler.requests[victim].beams
            engine.abort([victim])
            for one in [victim] if beams is None else [member.request_id for member in beams.members]:
                del answers[name_of(one)]
                aborted += 1
        for output in engine.step():
            answers[name_of(output.request_id)].take(output)
        engine.scheduler.check()
    assert_idle(engine)
    return answers, aborted, searches


def main(directory: Path, count: int) -> dict[str, Any]:
    engine = tiny.build(
        directory,
        num_gpu_blocks_override=20,
        max_num_batched_tokens=16,
        max_num_seqs=16,  # as most tests: those programs that know no pages are in the run's cache
        policy="priority",
        enable_prompt_embeds=True,
    )
    answers, aborted, searches = fuzz(engine, count)
    stats = engine.stats()
    return {
        "compiles": stats.compiles_after_ready,
        "reasons": Counter(answer.reason for answer in answers.values()),
        "aborted": aborted,
        "samples": sum("." in name for name in answers),
        "searches": searches,
        "preemptions": stats.num_preemptions,
        "prefix_hits": stats.prefix_cache_hits,
        "variants": sorted({record.variant for record in engine.records.records}),
        "prompts_scored": sum(bool(answer.prompt_logprobs) for answer in answers.values()),
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))
