"""Every exception that jaxpaged raises on purpose.

JaxPagedError
├── ConfigError                 flags or a model directory that cannot work (exit code 2)
│   ├── UnsupportedModelError   an architecture or config key that we do not implement
│   ├── WeightError             a checkpoint that is not exactly what the model needs
│   └── MemoryPlanError         not enough memory for one full-length request
├── RequestError                one request cannot be served (HTTP 4xx); `param` names the field
│   └── QueueFullError          the bounded queue is full (HTTP 503, try again)
│       └── ShuttingDownError   nothing is taken any more (HTTP 503; another server may)
├── CompileGuardError           something tried to compile after the engine said it was ready
├── InvariantError              an owner's audit failed: a bug of ours
└── EngineDeadError             the engine process or its step loop has ended (HTTP 500 / 503)
    └── EngineRestartingError   it is being started again (HTTP 503, try again)
"""


class JaxPagedError(Exception):
    """Root of the tree above."""


class ConfigError(JaxPagedError):
    """A configuration that cannot work; the text says how to correct it."""


class UnsupportedModelError(ConfigError):
    """A model whose architecture, or a key of whose config, is not implemented."""


class WeightError(ConfigError):
    """Missing, unexpected, truncated, mis-shaped or non-finite tensors, listed by name."""


class MemoryPlanError(ConfigError):
    """The device memory cannot hold the weights and one full-length request."""


class RequestError(JaxPagedError, ValueError):
    """A request that cannot be served as it stands; ends that request only."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class QueueFullError(RequestError):
    """The bounded waiting queue is full; the client may retry later."""


class ShuttingDownError(QueueFullError):
    """The server drains: it takes no new request."""


class CompileGuardError(JaxPagedError):
    """A program was asked for that was not compiled before ready."""


class InvariantError(JaxPagedError):
    """An owner's check() found its own state inconsistent."""


class EngineDeadError(JaxPagedError):
    """The engine can no longer answer; its requests have failed."""


class EngineRestartingError(EngineDeadError):
    """The engine has died and is being started again; the client may retry in some seconds."""
