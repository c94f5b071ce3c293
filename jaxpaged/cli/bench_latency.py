"""latency: how long one batch takes from beginning to end, in this process."""

from __future__ import annotations

import argparse
import statistics
import time

from jaxpaged.arguments.flags import add_engine_flags, engine_config
from jaxpaged.arguments.values import not_negative, positive
from jaxpaged.cli.workload import add_output, check_lengths, check_output, random_prompts, report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_engine_flags(parser, model_positional=False)
    group = parser.add_argument_group("workload")
    add = group.add_argument
    add("--batch-size", type=positive, default=8, metavar="N", help="sequences in the batch (default: %(default)s)")
    add("--input-len", type=positive, default=32, metavar="TOKENS", help="tokens in each prompt (default: %(default)s)")
    add("--output-len", type=positive, default=128, metavar="TOKENS", help="tokens generated (default: %(default)s)")
    add(
        "--num-iters-warmup",
        type=not_negative,
        default=2,
        metavar="N",
        help="rounds before measuring (default: %(default)s)",
    )
    add("--num-iters", type=positive, default=5, metavar="N", help="rounds measured (default: %(default)s)")
    add_output(group)


def run(args: argparse.Namespace, arguments: list[str]) -> int:
    config = engine_config(args)
    check_output(args.output_json)
    check_lengths(config, args.input_len, args.output_len)
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
