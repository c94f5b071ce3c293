"""The front end compiles grammars first, so that a bad one is refused before it reaches the engine."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future

from jaxpaged.errors import RequestError
from jaxpaged.params.structured import PARAM
from jaxpaged.sampling_params import SamplingParams
from jaxpaged.structured.compiler import CompiledGrammar, GrammarCompiler
from jaxpaged.structured.vocabulary import byte_vocabulary

COMPILE_SECONDS = 5.0


class GrammarChecker:
    """Compiles the grammars of requests over plain bytes. A thread cannot be stopped: its work is bounded by LIMITS."""

    def __init__(self, seconds: float = COMPILE_SECONDS) -> None:
        self._compiler: GrammarCompiler | None = None
        self._seconds = seconds

    def check(self, params: SamplingParams) -> None:
        """Raise RequestError when the request's grammar cannot be used, waiting for that."""
        if params.structured_outputs is not None:
            try:
                self._submit(params).result(self._seconds)
            except TimeoutError as error:
                raise too_slow(self._seconds) from error

    async def check_soon(self, params: SamplingParams) -> None:
        """The same on an event loop, which goes on meanwhile."""
        if params.structured_outputs is not None:
            try:
                async with asyncio.timeout(self._seconds):
                    await asyncio.shield(asyncio.wrap_future(self._submit(params)))  # others may wait for it too
            except TimeoutError as error:
                raise too_slow(self._seconds) from error

    def close(self) -> None:
        if self._compiler is not None:
            self._compiler.close()

    def _submit(self, params: SamplingParams) -> Future[CompiledGrammar]:
        if self._compiler is None:
            self._compiler = GrammarCompiler(byte_vocabulary())
        assert params.structured_outputs is not None
        return self._compiler.submit(params.structured_outputs)


def too_slow(seconds: float) -> RequestError:
    return RequestError(f"the grammar takes more than {seconds:g} seconds to compile; make it simpler.", PARAM)
