"""FakeEngines that an engine process can build by name: --engine-class tests.server.engines:SlowEngine."""

from __future__ import annotations

from typing import Any, Self

from jaxpaged.config import EngineConfig
from jaxpaged.engine.messages import EngineRequest
from jaxpaged.errors import ConfigError
from tests.fake_engine import FakeEngine

MAGIC_TOKEN = 13  # "the prompt that breaks it"


class FastEngine(FakeEngine):
    """Emits at once."""

    @classmethod
    def build(cls, config: EngineConfig, *, devices: Any = None, mesh: Any = None, progress: bool = True) -> Self:
        return cls(max_model_len=config.model.max_model_len or 4096, max_num_seqs=config.scheduler.max_num_seqs or 256)


class SlowEngine(FastEngine):
    """A token each 20 ms."""

    def step(self) -> list:
        self._step_seconds = 0.02
        return super().step()


class FragileEngine(SlowEngine):
    """add() fails unexpectedly, or a step does, for prompts of one magic token."""

    def add(self, request: EngineRequest) -> None:
        if request.prompt_token_ids == [MAGIC_TOKEN]:
            raise KeyError("a bug in add")
        super().add(request)

    def step(self) -> list:
        if any(row.request.prompt_token_ids == [MAGIC_TOKEN, MAGIC_TOKEN] for row in self._rows.values()):
            raise ZeroDivisionError("a bug in step")
        return super().step()


class RefusingEngine(FakeEngine):
    """Cannot be built."""

    @classmethod
    def build(cls, config: EngineConfig, *, devices: Any = None, mesh: Any = None, progress: bool = True) -> Self:
        raise ConfigError("the weights are missing; fetch them.")


class BrokenEngine(FakeEngine):
    """Has a bug in build()."""

    @classmethod
    def build(cls, config: EngineConfig, *, devices: Any = None, mesh: Any = None, progress: bool = True) -> Self:
        raise AttributeError("a bug in build")


class GatheringEngine(FastEngine):
    """Waits for as many requests as it may run, then steps them together, `STEP` seconds a step (a GPU's pace)."""

    STEP = 0.008
    _gathered = False

    def has_work(self) -> bool:
        self._gathered = bool(self._rows) and (self._gathered or len(self._rows) == self.info.max_num_seqs)
        return self._gathered

    def step(self) -> list:
        self._step_seconds = self.STEP
        return super().step()


class EagerEngine(GatheringEngine):
    """The same without a pace: a step takes what it takes."""

    STEP = 0.0
