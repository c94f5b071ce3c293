"""The process in which grammars are tried: `python -m jaxpaged.structured.worker`, a line of JSON in, one out.

A grammar that takes too long ends the process: the system does so by itself when the time of a timer is spent, whatever
the grammar library is doing, and its handle (trial_process.py) starts another one.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import msgspec

from jaxpaged.params.calls import Calls
from jaxpaged.params.structured import StructuredOutputsParams
from jaxpaged.params.thought import Thought
from jaxpaged.structured.byte_vocabulary import ByteVocabulary
from jaxpaged.structured.trial import try_grammar

WALL_SECONDS = 60.0  # for a grammar that would wait for something instead of computing
MAX_ADDRESS_SPACE = 4 * 1024**3
_LEAST_SECONDS = 0.001  # a timer of 0 seconds is none


def main() -> None:
    """Serve until stdin ends. The first line holds the vocabulary and how much to give way to other processes."""
    first = json.loads(sys.stdin.readline())
    os.nice(first["niceness"])
    _limit_memory()
    vocabulary = ByteVocabulary(first["special"], first["size"])
    tokenizer = vocabulary.tokenizer()
    for line in sys.stdin:
        request = json.loads(line)
        with _time_limit(request["seconds"]):
            trial = try_grammar(read_params(request["wanted"]), tokenizer, vocabulary.special)
        sys.stdout.write(json.dumps(asdict(trial)) + "\n")
        sys.stdout.flush()


def _limit_memory() -> None:
    """Where less is allowed already, that stays."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    soft = MAX_ADDRESS_SPACE if hard == resource.RLIM_INFINITY else min(MAX_ADDRESS_SPACE, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """The process ends when what is done inside computes for longer."""
    signal.setitimer(signal.ITIMER_PROF, max(seconds, _LEAST_SECONDS))
    signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)


def read_params(wanted: dict[str, Any]) -> StructuredOutputsParams:
    """What trial_process.message() has written."""
    thought = msgspec.convert(wanted["thought"], Thought | None)
    calls = msgspec.convert(wanted["calls"], Calls | None)
    return StructuredOutputsParams(**wanted["fields"], thought=thought, calls=calls)


if __name__ == "__main__":
    main()
