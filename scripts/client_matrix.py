"""Runs tests/clients and tests/agents: one environment for each set of clients that go together.

    python scripts/client_matrix.py [SET ...]      (an interpreter that has jaxpaged; scripts/test_clients brings it)

One server serves all sets but the agents. The next environment is installed while a set is tested.
Exit code 1 if a set fails.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
import venv
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CLIENTS = ROOT / "tests" / "clients"
sys.path.insert(0, str(ROOT))

from live_server import live_server  # noqa: E402
from tests.clients.pending import PENDING  # noqa: E402

SETS = {
    "openai3": "openai_python anthropic_python langchain pydantic_ai llm_cli schemathesis",
    "openai2": "openai_python litellm instructor",
    "eval": "lm_eval",
    "node": "openai.test.js",
    "agents": "claude codex opencode",
}
NODE, AGENTS = "node", "agents"
AGENT_TESTS = ROOT / "tests" / "agents"
NPM_PACKAGES = {NODE: CLIENTS / "node" / "package.json", AGENTS: AGENT_TESTS / "package.json"}

# Schemathesis sends chats without max_tokens. The bundled model's own template knows no tools.
SETTINGS = (
    "--max-num-seqs", "64", "--max-num-batched-tokens", "64", "--max-model-len", "512",
    "--chat-template", str(CLIENTS / "hermes.jinja"),
    "--override-generation-config", '{"max_new_tokens": 24}',  # where a client sets none: schemathesis sends thousands
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"some of {', '.join(SETS)}; all by default")
    chosen = parser.parse_args().sets or list(SETS)
    if unknown := set(chosen) - set(SETS):
        parser.error(f"there is no set {', '.join(sorted(unknown))}; choose from {', '.join(SETS)}.")
    if not shutil.which("npm"):
        for name in [name for name in chosen if name in NPM_PACKAGES]:
            chosen.remove(name)
            print(f"== {name}: left out, because there is no npm here (Debian: apt-get install npm)", flush=True)
    with ThreadPoolExecutor(1) as installing:
        ready = {name: installing.submit(install, name) for name in chosen}
        passed = run_together({name: ready[name] for name in chosen if name != AGENTS})
        if AGENTS in chosen:
            passed &= run_agents(ready[AGENTS])
    return 0 if passed else 1


def run_together(ready: dict[str, Future[Path]]) -> bool:
    """All sets but the agents, against one server with the bundled model."""
    if not ready:
        return True
    results = []
    with live_server(*SETTINGS) as server:
        for name, installed in ready.items():
            began = time.monotonic()
            environment = installed.result()
            results.append((run_node if name == NODE else run_python)(name, environment, server.url))
            report(name, results[-1], began)
    if traced := "Traceback" in "".join(server.errors):
        print("the server's log has tracebacks:\n" + "".join(server.errors[-60:]))
    return all(results) and not traced


def report(name: str, passed: bool, began: float) -> None:
    print(f"== {name}: {'passed' if passed else 'FAILED'} in {time.monotonic() - began:.0f} s", flush=True)


def install(name: str) -> Path:
    """The environment of a set, made anew when its list of versions has changed."""
    environment = ROOT / f".venv-clients-{name}"
    wanted = NPM_PACKAGES.get(name, CLIENTS / f"{name}.txt")
    stamp = environment / "installed"
    if stamp.exists() and stamp.read_text() == wanted.read_text():
        return environment
    if name in NPM_PACKAGES:
        environment.mkdir(exist_ok=True)
        shutil.copy(wanted, environment)
        command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel", "error"]
    else:
        venv.create(environment, clear=True, with_pip=True)
        command = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
        command += ["--requirement", str(wanted)]
    subprocess.run(command, cwd=environment, check=True)
    stamp.write_text(wanted.read_text())
    return environment


def run_python(name: str, environment: Path, url: str) -> bool:
    files = [str(CLIENTS / f"test_{file}.py") for file in SETS[name].split()]
    command = [str(environment / "bin" / "python"), "-m", "pytest", "--quiet", "--durations", "3"]
    command += ["-c", str(CLIENTS / "pytest.ini"), "--rootdir", str(CLIENTS), "--confcutdir", str(CLIENTS)]
    command += ["--server-url", url, "--server-python", sys.executable, *files]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}).returncode == 0


def run_node(name: str, environment: Path, url: str) -> bool:
    """Modules are looked up beside the file that imports them, so the tests go to where the modules are."""
    for test in (CLIENTS / "node").glob("*.test.js"):
        shutil.copy(test, environment)
    variables = {**os.environ, "SERVER_URL": url, "PENDING": ",".join(sorted(PENDING))}
    command = ["node", "--test", "--test-concurrency=1", "--test-reporter=spec"]
    return subprocess.run(command, cwd=environment, env=variables).returncode == 0


def run_agents(installed: Future[Path]) -> bool:
    """Their tests start a server of their own, with a model made for them and room for what agents say at first."""
    began = time.monotonic()
    try:
        environment = installed.result()
    except subprocess.CalledProcessError:
        print(f"== {AGENTS}: left out, because npm cannot install them here (see its message above)", flush=True)
        return True
    command = [sys.executable, "-m", "pytest", "--quiet", "-rs", "--durations", "5"]
    command += [str(AGENT_TESTS), "--agents", str(environment)]
    variables = {"JAX_COMPILATION_CACHE_DIR": str(environment / "compiled"), **os.environ}
    passed = subprocess.run(command, cwd=ROOT, env=variables).returncode == 0
    report(AGENTS, passed, began)
    return passed


if __name__ == "__main__":
    sys.exit(main())
