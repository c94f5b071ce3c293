"""What an engine needs of the device side: something that executes plans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from jaxpaged.scheduling.plan import StepPlan


class Pending(Protocol):
    """A dispatched plan; `wait` blocks until its sampled tokens are on the host (None if no row was sampled)."""

    def wait(self) -> Any: ...


class PlanRunner(Protocol):
    """Executes plans in the order in which they are submitted."""

    def submit(self, plan: StepPlan) -> Pending: ...

    def update_weights(self, weights: Mapping[str, Any]) -> None: ...

    def sleep(self, level: int) -> None: ...

    def wake_weights(self) -> None: ...

    def wake_pool(self) -> None: ...

    def is_complete(self) -> bool: ...
