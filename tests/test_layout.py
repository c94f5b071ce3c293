"""The shape of the house: who may import whom, how long things may be, what never appears."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("jaxpaged", "pallas_kernels", "server")
TOP_LEVEL = {*PACKAGES, "tests", "scripts", "pyproject.toml", "README.md", "LICENSE"}

# These know pages, tokens and settings, never arrays.
JAX_FREE = (
    "jaxpaged/scheduling",
    "jaxpaged/kv/spec.py",
    "jaxpaged/config.py",
    "jaxpaged/errors.py",
    "jaxpaged/engine/messages.py",
    "jaxpaged/outputs.py",
    "jaxpaged/scheduling/request.py",
    "jaxpaged/params",
    "jaxpaged/sampling_params.py",
)
ARRAY_LIBRARIES = {"jax", "jaxlib", "flax"}
TORCH_SCRIPTS = {
    "scripts/make_goldens.py",
    "scripts/make_beam_goldens.py",
    "scripts/compare_hf.py",
    "scripts/gpu/peers.py",
    "scripts/gpu/transformers_generate.py",
}  # they compare with the reference, in its own environment or where it happens to be installed
UNSAFE_MODULES = {"pickle", "cloudpickle", "dill", "marshal", "shelve"}

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 100
# "path" or "path:function" -> the reason why it may be longer.
LENGTH_WAIVERS: dict[str, str] = {}


@cache
def sources(*folders: str) -> tuple[Path, ...]:
    """Python files under the folders (or the files themselves), relative to the root."""
    found = (
        path
        for folder in folders
        for path in ([ROOT / folder] if folder.endswith(".py") else (ROOT / folder).rglob("*.py"))
    )
    return tuple(sorted(path.relative_to(ROOT) for path in found if path.exists()))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


def imports(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Every absolute module name imported below the node, with its line."""
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, child.lineno) for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module and child.level == 0:
            yield child.module, child.lineno
            yield from ((f"{child.module}.{alias.name}", child.lineno) for alias in child.names)


def importers(paths: tuple[Path, ...], roots: set[str]) -> list[str]:
    """file:line of every import of one of the top-level modules."""
    lines = {f"{path}:{line}" for path in paths for name, line in imports(tree(path)) if name.split(".")[0] in roots}
    return sorted(lines)


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    yield from (node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_top_level_is_what_was_agreed() -> None:
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True)
    if files.returncode != 0:
        pytest.skip("not a git checkout")
    tops = {name.split("/")[0] for name in files.stdout.splitlines()}
    assert {top for top in tops if not top.startswith(".")} <= TOP_LEVEL


def test_kernels_import_only_jax_numpy_and_the_standard_library() -> None:
    allowed = {"jax", "jaxlib", "jaxtyping", "numpy", "ml_dtypes", "pallas_kernels", *sys.stdlib_module_names}
    used = {name.split(".")[0] for path in sources("pallas_kernels") for name, _ in imports(tree(path))}
    assert used <= allowed


def test_imports_point_from_server_to_jaxpaged_to_kernels() -> None:
    assert importers(sources("pallas_kernels"), {"jaxpaged", "server"}) == []
    assert importers(sources("jaxpaged"), {"server", "tests", "scripts"}) == []
    assert importers(sources("server"), {"pallas_kernels", "tests", "scripts", *ARRAY_LIBRARIES}) == []


def test_the_scheduler_and_the_plain_data_import_no_arrays() -> None:
    assert importers(sources(*JAX_FREE), ARRAY_LIBRARIES) == []


@pytest.mark.parametrize("folder", ["jaxpaged", *JAX_FREE])
def test_importing_it_loads_no_jax(folder: str) -> None:
    """The import graph below these modules, too, stays clear of jax: `jaxpaged --help` and the server start quickly."""
    paths = [Path("jaxpaged/__init__.py")] if folder == "jaxpaged" else sources(folder)
    modules = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths]
    assert modules
    program = f"import sys, {', '.join(modules)}; sys.exit(sorted({ARRAY_LIBRARIES} & set(sys.modules)) or 0)"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_architectures_are_data() -> None:
    uses = [
        f"{path}:{line}"
        for path in sources("jaxpaged/models/architectures")
        for name, line in imports(tree(path))
        if name.startswith("flax")
    ]
    assert uses == []


def test_torch_is_imported_by_the_reference_scripts_only() -> None:
    paths = tuple(path for path in sources(*PACKAGES, "tests", "scripts") if str(path) not in TORCH_SCRIPTS)
    assert importers(paths, {"torch", "torchvision", "vllm"}) == []


def test_own_code_is_imported_at_the_head_of_a_file() -> None:
    """The command line is the exception: its imports wait for a command, so that --help is quick."""
    late = [
        f"{path}:{line}"
        for path in sources(*PACKAGES)
        if not path.is_relative_to("jaxpaged/cli")
        for function in functions(path)
        for name, line in imports(function)
        if name.split(".")[0] in PACKAGES
    ]
    assert late == []


def test_nothing_is_unpickled_or_evaluated() -> None:
    paths = sources(*PACKAGES)
    calls = [
        f"{path}:{node.lineno}"
        for path in paths
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"eval", "exec"}
    ]
    assert calls + importers(paths, UNSAFE_MODULES) == []


def test_only_the_command_line_reads_the_environment() -> None:
    reads = [
        f"{path}:{node.lineno}"
        for path in sources(*PACKAGES)
        if not path.is_relative_to("jaxpaged/cli")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "putenv"}
    ]
    assert reads == []


def test_files_are_short() -> None:
    lengths = {
        str(path): len((ROOT / path).read_text().splitlines()) for path in sources(*PACKAGES, "tests", "scripts")
    }
    assert {path: n for path, n in lengths.items() if n > MAX_FILE_LINES and path not in LENGTH_WAIVERS} == {}


def test_functions_are_short() -> None:
    lengths = {
        f"{path}:{function.name}": (function.end_lineno or 0) - function.lineno + 1
        for path in sources(*PACKAGES, "scripts")
        for function in functions(path)
    }
    assert {name: n for name, n in lengths.items() if n > MAX_FUNCTION_LINES and name not in LENGTH_WAIVERS} == {}


def test_every_waiver_is_still_needed() -> None:
    for name in LENGTH_WAIVERS:
        path, _, function = name.partition(":")
        longest = (
            max((f.end_lineno or 0) - f.lineno + 1 for f in functions(Path(path)) if f.name == function)
            if function
            else len((ROOT / path).read_text().splitlines())
        )
        assert longest > (MAX_FUNCTION_LINES if function else MAX_FILE_LINES), (
            f"{name} has become short: drop its waiver"
        )
