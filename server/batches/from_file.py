"""`jaxpaged run-batch`: the requests of a local file, answered by an engine of its own."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from jaxpaged import AsyncLLM, ConfigError, read_chat_template
from jaxpaged.cli import engine_config, take_vllm_server_flags
from server.answers.parsers import check_parser_names
from server.batches.answering import ENDPOINTS
from server.batches.lines import LineReader
from server.batches.runner import answered
from server.flags import DEFAULTS, ServerOptions
from server.serving import Serving


def run(args: argparse.Namespace) -> int:
    """Open the files, start the engine, answer every line. A line that fails is a line of the output."""
    config = engine_config(args)
    take_vllm_server_flags(args)
    template = None if args.chat_template is None else read_chat_template(args.chat_template)
    check_parser_names(args.tool_call_parser, args.reasoning_parser)
    options = ServerOptions(
        max_stop_strings=max(0, args.max_stop_strings),
        tool_call_parser=args.tool_call_parser,
        reasoning_parser=args.reasoning_parser,
        default_template_kwargs=args.default_chat_template_kwargs or {},
        content_format=args.chat_template_content_format,
        tokens_as_ids=args.return_tokens_as_token_ids,
    )
    with _reading(args.input_file) as source, _writing(args.output_file) as target:
        llm = AsyncLLM(config, chat_template=template, engine=args.engine_class, debug=args.debug)
        try:
            reader = LineReader(source, ENDPOINTS.keys(), args.max_line_bytes)
            done, failed = asyncio.run(answer_all(llm, reader, target, args.concurrency, options))
        finally:
            llm.shutdown()
    print(f"{done} requests answered, {failed} failed; see {args.output_file}", file=sys.stderr)
    return 0


async def answer_all(
    llm: AsyncLLM,
    reader: LineReader,
    target: BinaryIO,
    concurrency: int | None,
    options: ServerOptions = DEFAULTS,
) -> tuple[int, int]:
    """Write the record of every line; how many were answered with a success, and how many were not."""
    done = failed = 0
    concurrency = concurrency or 2 * llm.info.max_num_seqs
    records = answered(Serving.of(llm, options), reader, concurrency)
    with tqdm(unit=" requests", file=sys.stderr, disable=None) as progress:
        async with aclosing(records):
            async for record in records:
                target.write(record.line)
                target.flush()
                done, failed = done + record.ok, failed + (not record.ok)
                progress.update()
    return done, failed


@contextmanager
def _reading(name: str) -> Iterator[BinaryIO]:
    if name == "-":
        yield sys.stdin.buffer
        return
    try:
        file = Path(name).open("rb")  # noqa: SIM115
    except OSError as error:
        raise ConfigError(f"input_file {name} cannot be read ({error.strerror}); name a local file.") from error
    with file:
        yield file


@contextmanager
def _writing(name: str) -> Iterator[BinaryIO]:
    """The file under its own name, from its beginning: who follows it reads each answer as it comes."""
    if name == "-":
        yield sys.stdout.buffer
        return
    try:
        file = Path(name).open("wb")  # noqa: SIM115
    except OSError as error:
        raise ConfigError(f"output_file {name} cannot be written ({error.strerror}).") from error
    with file:
        yield file
