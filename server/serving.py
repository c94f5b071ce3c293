"""What every route needs: the model behind the server and how the server was set up."""

from __future__ import annotations

from dataclasses import dataclass

from jaxpaged import AsyncLLM
from server.body import MAX_BODY_BYTES
from server.errors import ApiError
from server.logs import LogFormat
from server.request_record import RecordSink


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """The server's own settings; the engine's are in EngineConfig. Times are in seconds."""

    api_keys: tuple[str, ...] = ()
    max_body_bytes: int = MAX_BODY_BYTES
    force_include_usage: bool = False
    docs: bool = True
    page: bool = True
    root_path: str = ""
    allowed_origins: tuple[str, ...] = ()
    shutdown_timeout: float = 0.0
    request_timeout: float | None = None
    log_format: LogFormat = "text"
    record_sinks: tuple[RecordSink, ...] = ()


@dataclass(frozen=True, slots=True)
class Serving:
    """An AsyncLLM and the options of the server in front of it."""

    llm: AsyncLLM
    options: ServerOptions

    def check_model(self, name: str | None) -> None:
        """Requests may leave the model out; another one than ours is 404."""
        if name is not None and name != self.llm.model_name:
            shown = name if len(name) <= 100 else name[:100] + "..."
            raise ApiError(
                404,
                f"The model {shown!r} does not exist; this server has {self.llm.model_name!r}.",
                param="model",
                code="model_not_found",
            )
