"""--middleware: an operator's own code around the application."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any

from fastapi import FastAPI

from jaxpaged import ConfigError

Middleware = Callable[..., Any]  # a class, or a coroutine function


def load_middleware(path: str) -> Middleware:
    """The class or coroutine function that `package.module.name` names. Raises ConfigError."""
    module, _, name = path.replace(":", ".").rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"--middleware {path} cannot be imported ({error}); give package.module.Name.") from error
    if not inspect.isclass(found) and not inspect.iscoroutinefunction(found):
        raise ConfigError(f"--middleware {path} is neither a class nor an async function; see ASGI's middleware.")
    made: Middleware = found
    return made


def add_middleware(app: FastAPI, middleware: Middleware) -> None:
    """Put it outside of everything that is there already."""
    is_class = inspect.isclass(middleware)
    if is_class:
        app.add_middleware(middleware)
    else:
        app.middleware("http")(middleware)
