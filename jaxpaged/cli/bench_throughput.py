"""throughput: how many tokens a second a batch of random prompts gets, in this process."""

from __future__ import annotations

import argparse
import json
import random
import time

from jaxpaged.cli.flags import add_engine_flags, engine_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_engine_flags(parser, model_positional=False)
    add = parser.add_argument_group("workload").add_argument
    add("--num-prompts", type=int, default=64, metavar="N", help="prompts (default: %(default)s)")
    add("--input-len", type=int, default=128, metavar="TOKENS", help="tokens in each prompt (default: %(default)s)")
    add("--output-len", type=int, default=128, metavar="TOKENS", help="tokens generated (default: %(default)s)")
    add("--n", type=int, default=1, metavar="N", help="completions of each prompt (default: %(default)s)")
    add("--output-json", metavar="FILE", help="write the figures there too")


def run(args: argparse.Namespace, arguments: list[str]) -> int:
    config = engine_config(args)
    from jaxpaged.llm import LLM
    from jaxpaged.sampling_params import SamplingParams

    llm = LLM.from_config(config)
    prompts = random_prompts(args.num_prompts, args.input_len, llm.engine.info.vocab_size, config.model.seed)
    params = SamplingParams(n=args.n, max_tokens=args.output_len, ignore_eos=True, detokenize=True)
    llm.generate(prompts[:1], params, use_tqdm=False)
    began = time.perf_counter()
    outputs = llm.generate(prompts, params)
    seconds = time.perf_counter() - began
    generated = sum(len(completion.token_ids) for output in outputs for completion in output.outputs)
    total = generated + args.num_prompts * args.input_len
    figures = {
        "seconds": seconds,
        "requests_per_second": args.num_prompts / seconds,
        "output_tokens_per_second": generated / seconds,
        "total_tokens_per_second": total / seconds,
    }
    report(figures, args.output_json)
    return 0


def random_prompts(count: int, length: int, vocab_size: int, seed: int) -> list[list[int]]:
    """Prompts of random token ids, the same for the same seed."""
    rng = random.Random(seed)
    return [[rng.randrange(vocab_size) for _ in range(length)] for _ in range(count)]


def report(figures: dict[str, float], path: str | None) -> None:
    """Print figures, and write them as JSON where that was asked for."""
    for name, value in figures.items():
        print(f"{name:32} {value:12.3f}")
    if path is not None:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=1)
