"""The handle on a process that tries grammars: spawned when it is needed, replaced when it has died."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass

from jaxpaged.params.structured import CONSTRAINTS, REFINEMENTS, GrammarCost, StructuredOutputsParams
from jaxpaged.structured.byte_vocabulary import ByteVocabulary
from jaxpaged.structured.trial import Trial

_WORN = 16 * 1024 * 1024  # bytes of a grammar after which the process is replaced, for what it may not have given back
_TOO_LATE = (-signal.SIGPROF, -signal.SIGALRM)
_LOST = Trial(GrammarCost(), "the grammar could not be compiled; make it simpler.")
UNTRIED = Trial(GrammarCost(), "the grammar could not be tried, because no process can be started; try again later.")

log = logging.getLogger("jaxpaged")


def message(params: StructuredOutputsParams) -> str:
    """A grammar as the process reads it; equal grammars have equal messages."""
    fields = {name: getattr(params, name) for name in (*CONSTRAINTS, *REFINEMENTS)}
    around = {"thought": params.thought and asdict(params.thought), "calls": params.calls and asdict(params.calls)}
    return json.dumps({"fields": fields, **around})


def _spawned() -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "jaxpaged.structured.worker"]
    # a group of its own: Ctrl-C reaches the front end only; the process ends when its stdin does
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", process_group=0
    )


@dataclass(slots=True)
class TrialProcess:
    """One thread asks it. `niceness` is how much it gives way to other processes."""

    vocabulary: ByteVocabulary
    niceness: int = 0
    _process: subprocess.Popen[str] | None = None
    _closed: bool = False

    def start(self) -> None:
        """Spawn the process, if there is none or it has died meanwhile, so that it gets ready."""
        if self._process is not None and self._process.poll() is not None:
            self.end()
        if self._process is None and not self._closed:
            try:
                self._process = _spawned()
            except OSError as error:
                log.error("no process can be started that tries grammars (%s)", error.strerror)
            else:
                self._send(json.dumps({**asdict(self.vocabulary), "niceness": self.niceness}))

    def ask(self, wanted: str, seconds: float) -> Trial | None:
        """Try a grammar, as message() writes it, for so many seconds of computing; None: they were too few."""
        self.start()
        if self._process is None:
            return _LOST if self._closed else UNTRIED
        self._send(f'{{"seconds": {seconds}, "wanted": {wanted}}}')
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer.endswith("\n"):
            return self._lost()
        found = json.loads(answer)
        trial = Trial(GrammarCost(**found["cost"]), found["refused"])
        if trial.cost.bytes > _WORN:
            self.end()
        return trial

    def end(self) -> int | None:
        """End the process, if there is one; its exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.kill()
        process.communicate()  # closes the pipes, whatever it has left unread
        return process.returncode

    def close(self) -> None:
        """Start none any more, and kill what there is; end() comes after. Any thread may call it."""
        self._closed = True
        process = self._process
        if process is not None:
            process.kill()

    def _send(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has died: nothing will be read from it either
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def _lost(self) -> Trial | None:
        code = self.end()
        if code in _TOO_LATE:
            return None
        if not self._closed:
            log.error("a grammar has ended the process that tried it (exit code %s)", code)
        return _LOST
