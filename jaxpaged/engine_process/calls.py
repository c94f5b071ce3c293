"""What a front end may ask of a running engine beside requests: a closed union of messages, each a method of Engine.

A call is carried out between two steps, in its place among additions and aborts. What is wrong with it ends the call
and nothing else. Weights do not cross: an engine loads them itself, from a directory that it can read.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from jaxpaged.errors import ConfigError, JaxPagedError, RequestError
from jaxpaged.scheduling.stats import KVStats


class Sleep(msgspec.Struct, tag=True, frozen=True):
    """Engine.sleep."""

    level: int = 1


class WakeUp(msgspec.Struct, tag=True, frozen=True):
    """Engine.wake_up."""

    tags: tuple[str, ...] | None = None


class IsSleeping(msgspec.Struct, tag=True, frozen=True):
    """Engine.is_sleeping; returns a bool."""


class UpdateWeights(msgspec.Struct, tag=True, frozen=True):
    """Engine.update_weights, from a directory."""

    path: str


class ResetPrefixCache(msgspec.Struct, tag=True, frozen=True):
    """Engine.reset_prefix_cache; returns a bool."""


class ReadKVStats(msgspec.Struct, tag=True, frozen=True):
    """Engine.kv_stats; returns KVStats."""


class StartProfile(msgspec.Struct, tag=True, frozen=True):
    """Engine.start_profile; returns the trace's directory."""

    directory: str | None = None


class StopProfile(msgspec.Struct, tag=True, frozen=True):
    """Engine.stop_profile; returns the trace's directory."""


class Pause(msgspec.Struct, tag=True, frozen=True):
    """No steps from now on, or steps again: a matter of the loop around the engine."""

    paused: bool


OfEngine = Sleep | WakeUp | IsSleeping | UpdateWeights | ResetPrefixCache | ReadKVStats | StartProfile | StopProfile
EngineCall = Pause | OfEngine
CallResult = bool | str | KVStats | None


class CallError(msgspec.Struct, frozen=True):
    """Why a call has failed. `kind` is "request" or "config": the caller's mistake; "fault": ours."""

    message: str
    kind: str
    param: str | None = None

    def exception(self) -> JaxPagedError:
        match self.kind:
            case "request":
                return RequestError(self.message, self.param)
            case "config":
                return ConfigError(self.message)
        return JaxPagedError(self.message)


class CallableEngine(Protocol):
    """The methods of jaxpaged.engine.engine.Engine that may be called from another process."""

    def sleep(self, level: int = 1) -> None: ...
    def wake_up(self, tags: Sequence[str] | None = None) -> None: ...
    def is_sleeping(self) -> bool: ...
    def update_weights(self, weights: Mapping[str, Any] | str | Path) -> None: ...
    def reset_prefix_cache(self) -> bool: ...
    def kv_stats(self) -> KVStats: ...
    def start_profile(self, directory: str | None = None) -> str: ...
    def stop_profile(self) -> str: ...


def carry_out(engine: CallableEngine, call: OfEngine) -> tuple[CallResult, CallError | None]:
    """Do what a call asks for: its result, or why there is none."""
    try:
        return _carry_out(engine, call), None
    except RequestError as error:
        return None, CallError(str(error), "request", error.param)
    except ConfigError as error:
        return None, CallError(str(error), "config")
    except Exception:  # noqa: BLE001 - a call must not end the requests
        traceback.print_exc()
        return None, CallError(f"The engine failed to carry out {type(call).__name__}.", "fault")


def _carry_out(engine: CallableEngine, call: OfEngine) -> CallResult:
    match call:
        case Sleep(level):
            engine.sleep(level)
        case WakeUp(tags):
            engine.wake_up(tags)
        case IsSleeping():
            return engine.is_sleeping()
        case UpdateWeights(path):
            engine.update_weights(path)
        case ResetPrefixCache():
            return engine.reset_prefix_cache()
        case ReadKVStats():
            return engine.kv_stats()
        case StartProfile(directory):
            return engine.start_profile(directory)
        case StopProfile():
            return engine.stop_profile()
    return None
