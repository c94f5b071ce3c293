"""What the benchmarks share: checked numbers, random prompts, figures on the screen and in a file."""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from jaxpaged.config import EngineConfig
from jaxpaged.errors import ConfigError


def add_output(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    parser.add_argument("--output-json", type=Path, metavar="FILE", help="write the figures there too")


def check_output(path: Path | None) -> None:
    """Refuse a file that could not be written at the end. Raises ConfigError."""
    if path is None:
        return
    try:
        with path.open("a", encoding="utf-8"):
            pass
    except OSError as error:
        raise ConfigError(f"--output-json {path} cannot be written ({error.strerror}); name another file.") from error


def check_lengths(config: EngineConfig, input_len: int, output_len: int) -> None:
    """Refuse a workload that the given context cannot hold. Raises ConfigError."""
    longest = config.model.max_model_len
    if longest is not None and input_len + output_len > longest:
        raise ConfigError(
            f"--input-len {input_len} and --output-len {output_len} are more than --max-model-len {longest}; "
            "lower them or raise it."
        )


def random_prompts(count: int, length: int, vocab_size: int, seed: int) -> list[list[int]]:
    """Prompts of random token ids, the same for the same seed."""
    rng = random.Random(seed)
    return [[rng.randrange(vocab_size) for _ in range(length)] for _ in range(count)]


def report(figures: dict[str, float], path: Path | None) -> None:
    """Print figures, and write them as JSON where that was asked for."""
    for name, value in figures.items():
        print(f"{name:32} {value:12.3f}")
    if path is not None:
        path.write_text(json.dumps(figures, indent=1), encoding="utf-8")
