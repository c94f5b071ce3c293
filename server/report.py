"""What a user reads at start-up: what the server chose and why (EngineInfo.report has the rest), and where it is."""

from __future__ import annotations

from jaxpaged import AsyncLLM, RequestError, StartChoice
from server.flags import ServerOptions
from server.http.logs import say
from server.serving import Serving


def server_report(llm: AsyncLLM, options: ServerOptions, template: str | None) -> str:
    """A line for each choice. `template` is the one that was given instead of the tokenizer's own."""
    queue = llm.config.scheduler.max_queued_requests
    limit = options.request_timeout
    timeout = "no time limit" if limit is None else f"{limit:g} s for each"
    choices = [
        _chat_choice(llm, template),
        StartChoice(
            "parsers", Serving.of(llm, options).parsers.report(), "of the chat template, unless a flag names them"
        ),
        StartChoice("requests", f"{queue:,} may wait, {timeout}", "more are refused with 503"),
        _access_choice(len(options.api_keys)),
    ]
    return "\n".join(map(str, choices))


def _access_choice(keys: int) -> StartChoice:
    if not keys:
        return StartChoice("access", "everybody who reaches the port", "no --api-key is set")
    return StartChoice("access", "one API key" if keys == 1 else f"{keys} API keys")


def _chat_choice(llm: AsyncLLM, template: str | None) -> StartChoice:
    if template is not None:
        return StartChoice("chat", "the template given", "as --chat-template says")
    try:
        own = llm.get_tokenizer().chat_template
    except RequestError:
        return StartChoice("chat", "off", "--skip-tokenizer-init is set")
    if own is None:
        return StartChoice("chat", "off", "the tokenizer has no template; give one by --chat-template")
    return StartChoice("chat", "the tokenizer's template")


def say_ready(options: ServerOptions, url: str, model: str) -> None:
    """Tell that requests are taken now, and where."""
    text = greeting(url, model, key=bool(options.api_keys))
    if options.log_format == "json":
        text = f"serving {model} at {url}"
    say(options.log_format, text, url=url, model=model)


def greeting(url: str, model: str, *, key: bool) -> str:
    """What a user needs next."""
    header = " -H 'Authorization: Bearer YOUR_KEY'" if key else ""
    body = '{"messages": [{"role": "user", "content": "Hello!"}]}'
    return (
        f"\njaxpaged serves {model} at {url}/v1   (docs: {url}/docs, metrics: {url}/metrics)\n"
        f"Chat in a browser: {url}/\nTry:\n"
        f"  curl {url}/v1/chat/completions -H 'Content-Type: application/json'{header} \\\n    -d '{body}'\n"
        "Ctrl-C stops it.\n"
    )
