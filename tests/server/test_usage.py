"""Usage in every chunk where the server is told so, keys described only where there are any, results in place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from server.batches.from_file import _writing
from server.flags import ServerOptions
from tests.server.harness import client, events

pytestmark = pytest.mark.anyio
BODIES = {
    "/v1/completions": {"prompt": "hello", "max_tokens": 4, "stream": True},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4, "stream": True},
}


@pytest.mark.parametrize("path", BODIES)
async def test_forced_usage_is_in_every_chunk(path: str) -> None:
    async with client(options=ServerOptions(force_include_usage=True)) as http:
        chunks = events((await http.post(path, json=BODIES[path])).text)
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert counts == sorted(counts)
    assert counts[-1] == 4
    assert chunks[-1]["choices"] == []


@pytest.mark.parametrize("path", BODIES)
async def test_without_it_no_chunk_has_any(path: str) -> None:
    async with client() as http:
        chunks = events((await http.post(path, json=BODIES[path])).text)
    assert not [chunk for chunk in chunks if chunk.get("usage")]


@pytest.mark.parametrize(("keys", "wanted"), [((), False), (("key",), True)])
async def test_the_description_demands_a_key_where_one_is_set(keys: tuple[str, ...], wanted: bool) -> None:
    async with client(options=ServerOptions(api_keys=keys)) as http:
        described: dict[str, Any] = (await http.get("/openapi.json", headers={"Authorization": "Bearer key"})).json()
    operation = described["paths"]["/v1/completions"]["post"]
    assert bool(operation.get("security")) == wanted
    assert ("securitySchemes" in described["components"]) == wanted


def test_results_are_written_into_the_file_that_a_reader_holds_open(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text("of an earlier run\n")
    with path.open() as reader, _writing(str(path)) as target:
        target.write(b'{"id": 1}\n')
        target.flush()
        assert reader.read() == '{"id": 1}\n'
