"""Sleep, new weights and wake-up of the bundled model in an engine process of its own, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from jaxpaged.config import ModelConfig
from jaxpaged.hub.model_directory import resolve_model
from server.flags import ServerOptions
from tests.server.bundled import Bundled

PROMPT = {"prompt": "What is 3 + 4?", "temperature": 0, "max_tokens": 12}


@pytest.mark.timeout(300)
def test_the_engine_sleeps_takes_new_weights_and_answers_as_before(bundled: Bundled) -> None:
    async def scenario() -> None:
        async with bundled.client(ServerOptions(dev_routes=True)) as http:

            async def call(route: str, **body: Any) -> None:
                answer = await http.post(route, json=body or None)
                assert answer.status_code == 200, answer.text

            async def complete() -> Any:
                return await http.post("/v1/completions", json=PROMPT)

            before = (await complete()).json()["choices"]
            await call("/sleep?level=2")
            assert (await complete()).status_code == 400
            await call("/wake_up?tags=weights")
            await call("/update_weights", path=str(resolve_model(ModelConfig())))
            await call("/wake_up?tags=kv_cache")
            assert (await complete()).json()["choices"] == before
            assert bundled.llm.stats().compiles_after_ready == 0

    bundled.run(scenario())
