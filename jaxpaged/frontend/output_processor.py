"""EngineOutput (tokens of sequences) to RequestOutput (text of requests)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from jaxpaged.engine.messages import EngineOutput, EngineRequest
from jaxpaged.frontend.input_processor import PreparedRequest
from jaxpaged.frontend.logprobs import SpelledPrompt, position_logprobs
from jaxpaged.outputs import CompletionOutput, PromptLogprobs, RequestMetrics, RequestOutput, SampleLogprobs
from jaxpaged.params.repetition import RepetitionWatch
from jaxpaged.sampling_params import RequestOutputKind
from jaxpaged.text.detokenizer import Detokenizer
from jaxpaged.text.vocabulary import Vocabulary

log = logging.getLogger("jaxpaged.frontend.output_processor")


@dataclass(slots=True)
class Processed:
    """What to hand to the callers, and the engine's ids that a stop string (or an abort) has ended."""

    outputs: list[RequestOutput] = field(default_factory=list)
    abort: list[int] = field(default_factory=list)


class OutputProcessor:
    """Keeps every request in flight; detokenizes, applies stop strings and merges the n completions of a request.

    `vocabulary` None (skip_tokenizer_init) leaves all text empty. `clock` is the clock of EngineOutput.events.
    """

    def __init__(self, vocabulary: Vocabulary | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._vocabulary = vocabulary
        self._clock = clock
        self._requests: dict[str, _Request] = {}
        self._sequences: dict[int, _Sequence] = {}

    def add(self, prepared: PreparedRequest) -> None:
        """Register a request before its children are given to the engine. A request_id in flight is a KeyError."""
        if prepared.request_id in self._requests:
            raise KeyError(f"request {prepared.request_id!r} is already in flight")
        request = _Request(prepared, self._vocabulary)
        self._requests[prepared.request_id] = request
        self._sequences.update((sequence.engine_id, sequence) for sequence in request.sequences)

    def process(self, outputs: Iterable[EngineOutput]) -> Processed:
        """Take one step's outputs; those of sequences that have ended or were never added are dropped."""
        now = self._clock()
        processed = Processed()
        touched: dict[str, _Request] = {}
        for output in outputs:
            sequence = self._sequences.get(output.request_id)
            if sequence is None:
                continue
            request = sequence.request
            try:
                request.take(output, sequence, now)
            except Exception:  # noqa: BLE001 - one request must not end the others
                touched.pop(request.prepared.request_id, None)
                self._give_up(request, processed)
                continue
            touched[request.prepared.request_id] = request
            if sequence.finish_reason is not None:
                del self._sequences[sequence.engine_id]
                if output.finish_reason is None:
                    processed.abort.append(sequence.engine_id)
        for request_id, request in touched.items():
            try:
                made = request.output()
            except Exception:  # noqa: BLE001 - one request must not end the others
                self._give_up(request, processed)
                continue
            if made is not None:
                processed.outputs.append(made)
            if request.finished:
                del self._requests[request_id]
        return processed

    def _give_up(self, request: _Request, processed: Processed) -> None:
        """End a request whose outputs we fail to read, without reading more of them."""
        log.exception("the outputs of request %s could not be read", request.prepared.request_id)
        ids = [sequence.engine_id for sequence in request.sequences if sequence.engine_id in self._sequences]
        for engine_id in ids:
            del self._sequences[engine_id]
        del self._requests[request.prepared.request_id]
        processed.abort += ids
        processed.outputs.append(request.broken())

    def abort(self, request_ids: Iterable[str], why: str | None = None) -> Processed:
        """End requests by the ids that they were prepared with; unknown ids are ignored. `why`: their stop_reason."""
        return self._end(request_ids, "abort", None, why)

    def fail(self, request_id: str, error: str) -> Processed:
        """End one request with an error."""
        return self._end([request_id], "error", error)

    def request_of(self, engine_id: int) -> str | None:
        """The request that a running sequence of the engine belongs to; None for one that nobody waits for."""
        sequence = self._sequences.get(engine_id)
        return None if sequence is None else sequence.request.prepared.request_id

    def in_flight(self) -> list[str]:
        """The ids of the requests that have not finished."""
        return list(self._requests)

    def _end(self, request_ids: Iterable[str], reason: str, error: str | None, why: str | None = None) -> Processed:
        processed = Processed()
        for request_id in request_ids:
            request = self._requests.get(request_id)
            if request is None:
                continue
            running = [sequence.engine_id for sequence in request.sequences if sequence.finish_reason is None]
            end = EngineOutput(0, finish_reason=reason, stop_reason=why, error=error)
            ends = [replace(end, request_id=engine_id, new_token_ids=[]) for engine_id in running]
            processed.outputs += self.process(ends).outputs
            processed.abort += running
        return processed


class _Request:
    """A request of the caller: one sequence per completion."""

    def __init__(self, prepared: PreparedRequest, vocabulary: Vocabulary | None) -> None:
        self.prepared = prepared
        self.sequences = [_Sequence(index, child, self, vocabulary) for index, child in enumerate(prepared.samples)]
        self._vocabulary = vocabulary if prepared.params.detokenize else None
        self._kind = prepared.params.output_kind
        self._interval = prepared.params.stream_interval or 1
        self._known_prompt = prepared.samples[0].prompt_embeds is None
        self._metrics = RequestMetrics(arrival_time=prepared.arrival_time)
        self._prompt_logprobs: PromptLogprobs | None = None
        self._num_cached_tokens = 0
        self._error: str | None = None

    @property
    def finished(self) -> bool:
        return all(sequence.finish_reason is not None for sequence in self.sequences)

    def take(self, output: EngineOutput, sequence: _Sequence, now: float) -> None:
        arrival = self.prepared.samples[0].arrival
        self._metrics.note(output.events, arrival=arrival)
        self._metrics.note_tokens(sequence.take(output), now, arrival=arrival)
        if sequence is self.sequences[0]:  # a later one may take from the cache what this one has computed
            self._num_cached_tokens = max(self._num_cached_tokens, output.num_cached_tokens)
        self._error = self._error or output.error
        if output.prompt_logprobs is not None:
            ids = self.prepared.prompt_token_ids
            self._prompt_logprobs = SpelledPrompt(output.prompt_logprobs, ids, self._vocabulary)

    def output(self) -> RequestOutput | None:
        """What the caller sees after a step, by its output kind; None when it wants nothing yet."""
        finished = self.finished
        if self._kind is RequestOutputKind.FINAL_ONLY and not finished:
            return None
        due = [sequence for sequence in self.sequences if sequence.is_due(self._interval)]
        if not due:
            return None
        delta = self._kind is RequestOutputKind.DELTA
        shown = due if delta else self.sequences
        made = RequestOutput(
            request_id=self.prepared.request_id,
            prompt=self.prepared.prompt,
            prompt_token_ids=self.prepared.prompt_token_ids if self._known_prompt else None,
            prompt_logprobs=self._prompt_logprobs,
            outputs=[sequence.completion(delta=delta) for sequence in shown],
            finished=finished,
            metrics=self._metrics,
            num_cached_tokens=self._num_cached_tokens,
            error=self._error,
        )
        if delta:
            self._prompt_logprobs = None
        return made

    def broken(self) -> RequestOutput:
        """The last output of a request that a bug of ours has ended."""
        ends = [CompletionOutput(i, "", [], None, None, finish_reason="error") for i in range(len(self.sequences))]
        return RequestOutput(
            self.prepared.request_id, None, None, None, ends, True, self._metrics, error="internal error"
        )


class _Sequence:
    """One completion in flight. Text, tokens and logprobs pile up here; a delta takes them away."""

    def __init__(self, index: int, child: EngineRequest, request: _Request, vocabulary: Vocabulary | None) -> None:
        self.engine_id = child.request_id
        self.request = request
        self.finish_reason: str | None = None
        self._waiting: int | None = None  # tokens since the last output, None where nothing has changed
        self._shown = False
        params = child.params
        self._index = index
        self._vocabulary = vocabulary if params.detokenize else None
        self._detokenizer = None
        if self._vocabulary is not None:
            known_prompt = child.prompt_token_ids if child.prompt_embeds is None else ()
            self._detokenizer = Detokenizer(self._vocabulary, params, known_prompt)
        watched = params.repetition_detection
        self._repetition = None if watched is None else RepetitionWatch(watched)
        self._stop_reason: int | str | None = None
        self._text: list[str] = []
        self._token_ids: list[int] = []
        self._text_ends: list[int] = []
        wanted = params.num_logprobs is not None
        self._logprobs: SampleLogprobs | None = [] if wanted else None
        self._cumulative: float | None = 0.0 if wanted else None
        self._named = bool(params.logprob_token_ids)
        self._context = child.prompt_token_ids[-4:]

    def take(self, output: EngineOutput) -> int:
        """Add a step's tokens up to a stop string; returns how many count."""
        token_ids, self.finish_reason, self._stop_reason = (
            output.new_token_ids,
            output.finish_reason,
            output.stop_reason,
        )
        if self._repetition is not None and self.finish_reason is None:
            repeated = self._repetition.take(token_ids)
            if repeated is not None:
                token_ids = token_ids[:repeated]
                self.finish_reason, self._stop_reason = "repetition", "repetition_detected"
        if self._detokenizer is not None:
            ended = self.finish_reason is not None
            piece = self._detokenizer.update(token_ids, finished=ended, stop_token=output.finish_reason == "stop")
            self._text.append(piece.text)
            if piece.stop is not None:
                self.finish_reason, self._stop_reason = "stop", piece.stop
                token_ids = token_ids[: piece.num_tokens]
            self._text_ends += piece.ends
        self._token_ids += token_ids
        self._take_logprobs(output, len(token_ids))
        self._waiting = (self._waiting or 0) + len(token_ids)
        return len(token_ids)

    def _take_logprobs(self, output: EngineOutput, count: int) -> None:
        if self._logprobs is None or self._cumulative is None:
            return
        for entry in (output.logprobs or ())[:count]:
            self._logprobs.append(position_logprobs(entry, self._vocabulary, self._context, named=self._named))
            self._cumulative += entry.logprob
            self._context = [*self._context[-3:], entry.token_id]

    def is_due(self, interval: int) -> bool:
        """Its first tokens, every `interval` later ones, and its end are to be shown."""
        if self._waiting is None:
            return False
        return not self._shown or self._waiting >= interval or self.finish_reason is not None

    def completion(self, *, delta: bool) -> CompletionOutput:
        self._waiting, self._shown = None, True
        text = "".join(self._text)
        made = CompletionOutput(
            index=self._index,
            text=text,
            token_ids=self._token_ids if delta else list(self._token_ids),
            cumulative_logprob=self._cumulative,
            logprobs=self._logprobs if delta or self._logprobs is None else list(self._logprobs),
            finish_reason=self.finish_reason,
            stop_reason=self._stop_reason,
            text_ends=self._text_ends if delta else list(self._text_ends),
        )
        self._text = [] if delta else [text]
        if delta:
            self._token_ids, self._text_ends = [], []
            self._logprobs = None if self._logprobs is None else []
        return made
