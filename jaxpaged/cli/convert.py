"""convert: write a model's weights prepared for this engine, so that it starts faster.

The output is a model directory like any other. Give the same --tensor-parallel-size, --dtype and --quantization as
when serving it.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from jaxpaged.arguments.flags import add_engine_flags, engine_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", "-o", required=True, metavar="DIRECTORY", help="a new directory")
    add_engine_flags(parser)


def run(args: argparse.Namespace, arguments: list[str]) -> int:
    config = engine_config(args)
    output = Path(args.output).expanduser()

    from jaxpaged.engine.build import load_model
    from jaxpaged.weights.convert import convert, new_directory

    new_directory(output)  # before the model loads
    logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax warns of a step that this format does not have
    directory, decoder, leaves = load_model(config)
    convert(directory, output, decoder, leaves)
    print(f"{output} is ready; serve it with: jaxpaged serve {output}")
    return 0
