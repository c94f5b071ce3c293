"""latency: how long one batch takes from beginning to end, in this process."""

from __future__ import annotations

import argparse
import statistics
import time

from jaxpaged.cli.bench_throughput import random_prompts, report
from jaxpaged.cli.flags import add_engine_flags, engine_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_engine_flags(parser, model_positional=False)
    add = parser.add_argument_group("workload").add_argument
    add("--batch-size", type=int, default=8, metavar="N", help="sequences in the batch (default: %(default)s)")
    add("--input-len", type=int, default=32, metavar="TOKENS", help="tokens in each prompt (default: %(default)s)")
    add("--output-len", type=int, default=128, metavar="TOKENS", help="tokens generated (default: %(default)s)")
    add("--num-iters-warmup", type=int, default=2, metavar="N", help="rounds before measuring (default: %(default)s)")
    add("--num-iters", type=int, default=5, metavar="N", help="rounds measured (default: %(default)s)")
    add("--output-json", metavar="FILE", help="write the figures there too")


def run(args: argparse.Namespace, arguments: list[str]) -> int:
    config = engine_config(args)
    from jaxpaged.llm import LLM
    from jaxpaged.sampling_params import SamplingParams

    llm = LLM.from_config(config)
    prompts = random_prompts(args.batch_size, args.input_len, llm.engine.info.vocab_size, config.model.seed)
    params = SamplingParams(temperature=0.0, max_tokens=args.output_len, ignore_eos=True)
    seconds = []
    for _ in range(args.num_iters_warmup + args.num_iters):
        began = time.perf_counter()
        llm.generate(prompts, params, use_tqdm=False)
        seconds.append(time.perf_counter() - began)
    measured = sorted(seconds[args.num_iters_warmup :])
    figures = {
        "mean_seconds": statistics.fmean(measured),
        "median_seconds": statistics.median(measured),
        "slowest_seconds": measured[-1],
        "median_milliseconds_per_token": 1000 * statistics.median(measured) / args.output_len,
    }
    report(figures, args.output_json)
    return 0
