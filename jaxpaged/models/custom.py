"""Families of other code: registered by name in this process, or entry points of installed packages.

A family crosses into the engine's process as its name, "module:ARCHITECTURE", and is imported there again.
"""

from __future__ import annotations

import logging
from importlib.metadata import entry_points
from pkgutil import resolve_name

from jaxpaged.errors import ConfigError
from jaxpaged.models.architecture import Architecture
from jaxpaged.models.registry import REGISTRY, Registry

log = logging.getLogger("jaxpaged")

GROUP = "jaxpaged.architectures"
_registered: dict[str, Architecture] = {}


def register_architecture(where: str) -> Architecture:
    """Serve one more family in the engines that this process starts from now on, in their own processes too.

    where: "module:NAME" of an Architecture (jaxpaged.models.architecture), in a module that another Python process can
    import. It comes before a family of ours with the same name; docs/custom_models.md has an example. Raises
    ConfigError.
    """
    if where.startswith("__main__"):
        raise ConfigError(
            f"register_architecture({where!r}) names the running program, which the engine's process cannot import; "
            "put the architecture into a module of its own."
        )
    _registered[where] = _load(where)
    return _registered[where]


def registered() -> tuple[str, ...]:
    """What register_architecture() was given in this process."""
    return tuple(_registered)


def current_registry() -> Registry:
    """Our families, those of installed packages, and those that this process has registered; the last one wins."""
    registry = REGISTRY
    for family in (*_installed(), *_registered.values()):
        registry = registry.adding(family)
    return registry


def _installed() -> list[Architecture]:
    """A package that is broken costs its own families only."""
    families = []
    for entry in entry_points(group=GROUP):
        try:
            families.append(_load(entry.value))
        except ConfigError as error:
            log.warning("entry point %s of the group %s is left out: %s", entry.name, GROUP, error)
    return families


def _load(where: str) -> Architecture:
    try:
        family = resolve_name(where)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"the architecture {where!r} cannot be imported ({error}); give module:NAME, of a module on Python's path."
        ) from error
    if not isinstance(family, Architecture):
        raise ConfigError(
            f"{where!r} is a {type(family).__name__}; give the name of a jaxpaged.models.architecture.Architecture."
        )
    return family
