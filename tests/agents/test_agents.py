"""Coding agents as their users have them: a question, a call of a tool, its result sent back, an answer.

The model answers only when the result shows what the file says, so the answer proves that it came back.
"""

from __future__ import annotations

import json

from live_server import KEY
from tests.agents.checkpoint import ANSWER
from tests.agents.turn import MODEL, QUESTION, Agents, Turn

MOSTLY = 0.45  # of the tokens of two prompts of nearly the same length: nine tenths of the second


def check(turn: Turn, route: str) -> None:
    assert turn.requests == {(route, "2xx"): 2}
    assert turn.cached_tokens > MOSTLY * turn.prompt_tokens


def test_claude_code(agents: Agents) -> None:
    turn = agents.turn(
        *("claude", "--print", QUESTION, "--output-format", "json", "--no-session-persistence"),
        variables={
            "ANTHROPIC_BASE_URL": agents.server.url,
            "ANTHROPIC_API_KEY": KEY,
            "ANTHROPIC_MODEL": MODEL,
            "ANTHROPIC_SMALL_FAST_MODEL": MODEL,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_TELEMETRY": "1",
        },
    )
    check(turn, "/v1/messages")
    said = json.loads(turn.output)
    assert (said["result"], said["is_error"], said["num_turns"]) == (ANSWER, False, 2)
    usage = said["usage"]
    assert usage["cache_read_input_tokens"] == turn.cached_tokens
    new = usage["input_tokens"] + usage["cache_creation_input_tokens"]
    assert new + usage["cache_read_input_tokens"] == turn.prompt_tokens


def test_codex(agents: Agents) -> None:
    provider = {"name": "local", "base_url": f"{agents.server.url}/v1", "env_key": "AGENT_KEY", "wire_api": "responses"}
    settings = {
        "model": MODEL,
        "model_provider": "local",
        **{f"model_providers.local.{name}": value for name, value in provider.items()},
    }
    turn = agents.turn(
        *("codex", "exec", "--json", "--ephemeral", "--skip-git-repo-check"),
        "--dangerously-bypass-approvals-and-sandbox",  # its sandbox needs rights that a container has not got
        *("-c", "check_for_update_on_startup=false", "-c", "analytics.enabled=false"),
        *(part for name, value in settings.items() for part in ("-c", f"{name}={json.dumps(value)}")),
        QUESTION,
        variables={"AGENT_KEY": KEY},
    )
    check(turn, "/v1/responses")
    events = [json.loads(line) for line in turn.output.splitlines()]
    done = [event["item"] for event in events if event["type"] == "item.completed"]
    assert [(item["exit_code"], item["status"]) for item in done if item["type"] == "command_execution"] == [
        (0, "completed")
    ]
    assert [item["text"] for item in done if item["type"] == "agent_message"] == [ANSWER]
    usage = events[-1]["usage"]
    assert (usage["input_tokens"], usage["cached_input_tokens"]) == (turn.prompt_tokens, turn.cached_tokens)


def test_opencode(agents: Agents) -> None:
    limit = {"context": 65536, "output": 1024}
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "options": {"baseURL": f"{agents.server.url}/v1", "apiKey": KEY},
        "models": {MODEL: {"limit": limit}},
    }
    settings = {
        "model": f"local/{MODEL}",
        "small_model": f"local/{MODEL}",
        "provider": {"local": provider},
        "autoupdate": False,
        "share": "disabled",
    }
    turn = agents.turn(
        *("opencode", "run", "--format", "json", "--title", "notes", QUESTION),  # else it asks for a title meanwhile
        variables={
            "OPENCODE_CONFIG_CONTENT": json.dumps(settings),
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
            "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
        },
    )
    check(turn, "/v1/chat/completions")
    parts = [json.loads(line)["part"] for line in turn.output.splitlines()]
    assert [(part["tool"], part["state"]["status"]) for part in parts if part["type"] == "tool"] == [
        ("read", "completed")
    ]
    assert [part["text"] for part in parts if part["type"] == "text"] == [ANSWER]
    tokens = [part["tokens"] for part in parts if part["type"] == "step-finish"]
    assert sum(step["cache"]["read"] for step in tokens) == turn.cached_tokens
    assert sum(step["input"] for step in tokens) == turn.prompt_tokens - turn.cached_tokens
