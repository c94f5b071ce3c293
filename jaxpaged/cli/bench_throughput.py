"""throughput: how many tokens a second a batch of random prompts gets, in this process."""

from __future__ import annotations

import argparse
import time

from jaxpaged.arguments.flags import add_engine_flags, engine_config
from jaxpaged.arguments.values import positive
from jaxpaged.cli.workload import add_output, check_lengths, check_output, random_prompts, report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_engine_flags(parser, model_positional=False)
    group = parser.add_argument_group("workload")
    add = group.add_argument
    add("--num-prompts", type=positive, default=64, metavar="N", help="prompts (default: %(default)s)")
    add(
        "--input-len", type=positive, default=128, metavar="TOKENS", help="tokens in each prompt (default: %(default)s)"
    )
    add("--output-len", type=positive, default=128, metavar="TOKENS", help="tokens generated (default: %(default)s)")
    add("--n", type=positive, default=1, metavar="N", help="completions of each prompt (default: %(default)s)")
    add_output(group)


def run(args: argparse.Namespace, arguments: list[str]) -> int:
    config = engine_config(args)
    check_output(args.output_json)
    check_lengths(config, args.input_len, args.output_len)
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
