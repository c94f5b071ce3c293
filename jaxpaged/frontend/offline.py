"""Drive an engine until a batch of requests is done."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from jaxpaged.engine.messages import EngineRequest
from jaxpaged.errors import InvariantError, QueueFullError, RequestError
from jaxpaged.frontend.input_processor import PreparedRequest
from jaxpaged.frontend.output_processor import OutputProcessor, Processed
from jaxpaged.outputs import RequestOutput

if TYPE_CHECKING:
    from jaxpaged.engine.engine import Engine  # an engine brings jax; this file only drives one

ProgressOption = bool | Callable[..., Any]


class Progress:
    """vLLM's progress bar: requests done, tokens per second in and out. `option` may be a factory such as tqdm."""

    def __init__(self, total: int, option: ProgressOption) -> None:
        self._bar: Any = None
        self._began = time.monotonic()
        self._tokens_in = 0
        self._tokens_out = 0
        if option:
            make = option if callable(option) else tqdm
            self._bar = make(total=total, desc="Processed prompts", dynamic_ncols=True, postfix=self._speed())

    def note(self, output: RequestOutput) -> None:
        """One request is done."""
        if self._bar is None:
            return
        self._tokens_in += len(output.prompt_token_ids or ())
        self._tokens_out += sum(len(completion.token_ids) for completion in output.outputs)
        self._bar.set_postfix_str(self._speed(), refresh=False)
        self._bar.update(1)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def _speed(self) -> str:
        seconds = max(time.monotonic() - self._began, 1e-9)
        return (
            f"est. speed input: {self._tokens_in / seconds:.2f} toks/s, output: {self._tokens_out / seconds:.2f} toks/s"
        )


def run_batch(
    engine: Engine, processor: OutputProcessor, batch: Sequence[PreparedRequest], option: ProgressOption = False
) -> list[RequestOutput]:
    """Run `batch` to its end and return the final outputs in its order.

    A request that fails ends with the finish_reason "error"; the others go on. Whatever ends the run early (Ctrl-C, a
    dead engine) aborts what is left of the batch, and passes on.
    """
    finished: dict[str, RequestOutput] = {}
    waiting = deque((prepared.request_id, prepared.message) for prepared in batch)
    progress = Progress(len(batch), option)
    for prepared in batch:
        processor.add(prepared)
    try:
        while len(finished) < len(batch):
            done = _feed(engine, processor, waiting)
            if not done and not engine.has_work():
                raise InvariantError(
                    f"The engine has no work left, but {len(batch) - len(finished)} requests wait for it."
                )
            processed = processor.process(engine.step())
            engine.abort(processed.abort)
            for output in [*done, *processed.outputs]:
                if output.finished:
                    finished[output.request_id] = output
                    progress.note(output)
    finally:
        left = [prepared.request_id for prepared in batch if prepared.request_id not in finished]
        engine.abort(processor.abort(left).abort)
        progress.close()
    return [finished[prepared.request_id] for prepared in batch]


def _feed(engine: Engine, processor: OutputProcessor, waiting: deque[tuple[str, EngineRequest]]) -> list[RequestOutput]:
    """Add requests until the engine's queue is full; returns the outputs of those that it refused."""
    refused: list[RequestOutput] = []
    while waiting:
        request_id, message = waiting[0]
        try:
            engine.add(message)
        except QueueFullError:
            break
        except RequestError as error:
            processed: Processed = processor.fail(request_id, str(error))
            engine.abort(processed.abort)
            refused += processed.outputs
        waiting.popleft()
    return refused
