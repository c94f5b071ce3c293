"""The chat page: what it may load, and how it behaves in a browser under a person's hands."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.flags import ServerOptions
from server.routes.page import PAGE, content_security_policy
from tests.server.browser import Page, browser, chromium
from tests.server.harness import client
from tests.server.test_real_server import Server, model, serving, wait_for

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(90)]
__all__ = ["model"]  # the fixture
HTML = PAGE.read_text()
needs_browser = pytest.mark.skipif(
    chromium() is None and "CI" not in os.environ, reason="Chromium is not installed (scripts/install_chromium)"
)


async def test_it_is_one_file_under_a_strict_policy() -> None:
    async with client(options=ServerOptions(api_keys=("key",))) as http:
        response = await http.get("/")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "unsafe" not in policy
    assert len(re.findall(r"'sha256-[A-Za-z0-9+/]{43}='", policy)) == 2


async def test_it_can_be_turned_off() -> None:
    async with client(options=ServerOptions(page=False)) as http:
        assert (await http.get("/")).status_code == 404


def test_it_names_no_other_address_and_makes_no_markup_of_text() -> None:
    addresses = set(re.findall(r"https?://[\w./-]+", HTML))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, not an address
    for way_in in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "srcdoc"):
        assert way_in not in HTML
    assert re.findall(r"\son\w+=", HTML) == []
    assert len(HTML) < 60_000


def test_the_policy_follows_the_page() -> None:
    assert content_security_policy("<script>a</script>") != content_security_policy("<script>b</script>")


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Server]:
    with serving(model, "--max-model-len", "4096") as running:
        yield running


@pytest.fixture(scope="module")
def tab(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(tab: Page, server: Server) -> Iterator[Page]:
    """The page, unlocked, at the beginning of a chat. Nothing may have been complained about at the end."""
    tab.open(f"{server.url}/")
    tab.run("sessionStorage.setItem('key', 'key'); localStorage.clear()")
    tab.open(f"{server.url}/")
    tab.until("document.querySelector('#title').innerText === 'fake'")
    tab.complaints.clear()
    yield tab
    assert tab.complaints == []
    assert {url for url in tab.requests if not url.startswith((f"{server.url}/", "data:"))} <= {"about:blank"}


def ask(page: Page, text: str, **knobs: float) -> None:
    for field, value in {"max_tokens": 12, **knobs}.items():
        page.run(f"knobs.get('{field}').value = '{value}'")
    page.write("#input", text)
    page.press("Enter")


def ended(page: Page) -> None:
    page.until("running === null && document.querySelector('.turn.assistant .meta button') !== null")


@needs_browser
def test_it_asks_for_the_key_and_then_knows_the_model(tab: Page, server: Server) -> None:
    tab.open(f"{server.url}/")
    tab.run("sessionStorage.clear(); localStorage.clear()")
    tab.open(f"{server.url}/")
    tab.until("document.querySelector('#state').innerText === 'needs a key'")
    assert tab.run("document.querySelector('#keybox').hidden") is False
    tab.write("#key", "key")
    tab.press("Tab")
    tab.until("document.querySelector('#state').innerText === 'ready'")
    tab.until("document.querySelector('#model').options.length > 0")
    assert tab.run("[...document.querySelector('#model').options].map((o) => o.value)") == ["fake"]
    assert tab.text("#title") == "fake"


@needs_browser
def test_an_answer_streams_in_with_its_figures(page: Page) -> None:
    ask(page, "hello world", max_tokens=40)
    page.until("document.querySelector('#stop').hidden === false")
    page.until("document.querySelector('.turn.assistant .body').innerText.includes('hello world')")
    assert page.run("running !== null")
    ended(page)
    assert page.text(".turn.user .body") == "hello world"
    figures = page.text(".turn.assistant .meta")
    assert re.search(
        r"40 tokens\s+first token \d+ ms\s+\d+\.\d tokens/s\s+cut off at the limit\s+Copy\s+Again", figures
    )
    assert page.run("document.querySelector('#send').hidden") is False
    assert page.run("document.activeElement.id") == "input"


@needs_browser
def test_the_conversation_and_the_settings_are_sent(page: Page) -> None:
    page.write("#system", "be brief")
    ask(page, "one")
    ended(page)
    ask(page, "two", temperature=0.5, seed=7)
    page.until("document.querySelectorAll('.turn').length === 4")
    ended(page)
    assert (
        page.run("[...document.querySelectorAll('.meta button')].map((b) => b.innerText).join()") == "Copy,Copy,Again"
    )
    assert page.run("history.map((turn) => turn.role).join()") == "user,assistant,user,assistant"
    text = page.run("history[3].content")  # the fake engine says what it was given
    assert text.startswith("system\nbe brief")
    page.run("document.querySelector('.again').click()")
    page.until("document.querySelectorAll('.turn').length === 4 && running !== null")
    ended(page)
    assert page.run("history.length") == 4
    assert page.run("sampling()") == {"max_tokens": 12, "temperature": 0.5, "seed": 7}


@needs_browser
@pytest.mark.parametrize("way", ["Escape", "#stop"])
def test_stopping_frees_the_engine(page: Page, server: Server, way: str) -> None:
    ask(page, "hello", max_tokens=2000)
    page.until("document.querySelector('#running').innerText === '1'")
    assert page.run("document.querySelectorAll('#pages .held').length") >= 0
    page.press(way) if way == "Escape" else page.click(way)
    ended(page)
    assert "stopped" in page.text(".turn.assistant .meta")
    wait_for(lambda: server.metric("vllm:num_requests_running") == 0)


@needs_browser
def test_text_never_becomes_markup(page: Page) -> None:
    evil = "<img src=x onerror='window.pwned=1'><script>window.pwned=1</script> **bold** [x](javascript:pwned=1)"
    ask(page, evil, max_tokens=120)
    ended(page)
    assert page.run("window.pwned === undefined")
    assert page.run("document.querySelectorAll('#turns img, #turns script, #turns a').length") == 0
    assert page.run("document.querySelectorAll('.turn.assistant strong').length") >= 1
    assert "<img src=x" in page.text(".turn.assistant .body")


@needs_browser
def test_markdown_is_drawn(page: Page) -> None:
    lines = """# Title

Some *slanted* and **bold** text with `code`.

- one
- two

3. three
4. four

> quoted

| a | b |
|---|---|
| 1 | 2 |

```python
x < 1 & y
# no title
```
see [here](https://example.com/a?b=c)"""
    drawn = f"make('div', {{ class: 'body' }}, ...blocks({json.dumps(lines.splitlines())}))"
    page.run(f"document.querySelector('#turns').replaceChildren({drawn})")
    found = page.run("[...document.querySelectorAll('#turns .body *')].map((node) => node.tagName.toLowerCase())")
    for tag in ("h3", "em", "strong", "code", "ul", "ol", "blockquote", "table", "th", "td", "pre", "a"):
        assert tag in found, tag
    assert page.run("document.querySelector('#turns pre').innerText") == "x < 1 & y\n# no title"
    assert page.run("document.querySelector('#turns ol').start") == 3
    assert page.run("document.querySelector('#turns a').rel") == "noopener noreferrer nofollow"


@needs_browser
def test_a_refusal_is_shown_in_the_servers_words(page: Page) -> None:
    ask(page, "hello", temperature=9)
    ended(page)
    assert "temperature" in page.text(".failure")
    page.complaints.clear()  # the browser logs the 400


@needs_browser
def test_the_keyboard_is_enough(page: Page) -> None:
    page.run("knobs.get('max_tokens').value = 5")
    page.write("#input", "one")
    page.press("Enter", shift=True)
    page.send("Input.insertText", text="two")
    assert page.run("document.querySelector('#input').value") == "one\ntwo"
    page.press("Enter")
    ended(page)
    assert page.text(".turn.user .body") == "one\ntwo"
    page.press("n", alt=True)
    page.until("document.querySelector('.empty') !== null")
    before = page.run("document.documentElement.dataset.theme")
    page.press("t", alt=True)
    assert page.run("document.documentElement.dataset.theme") != before
    colour = page.run("getComputedStyle(document.body).backgroundColor")
    page.press("t", alt=True)
    assert page.run("getComputedStyle(document.body).backgroundColor") != colour


@needs_browser
def test_a_phone_has_no_sideways_scroll_and_a_menu(page: Page) -> None:
    page.send("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=1, mobile=False)
    try:
        assert page.run("document.documentElement.scrollWidth") == 360
        page.click("#menu")
        page.until("document.querySelector('#model').getBoundingClientRect().x >= 0")
        page.press("Escape")
        page.until("document.querySelector('#model').getBoundingClientRect().x < 0")
    finally:
        page.send("Emulation.clearDeviceMetricsOverride")
