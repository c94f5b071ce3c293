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
    "jaxpaged/kv/kind.py",
    "jaxpaged/kv/policies.py",
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
    "scripts/make_real_goldens.py",
    "scripts/compare_hf.py",
    "scripts/benchmarks/children/generate.py",
    "scripts/gpu/peers.py",
    "scripts/gpu/transformers_generate.py",
}  # they compare with the reference, in its own environment or where it happens to be installed
UNSAFE_MODULES = {"pickle", "cloudpickle", "dill", "marshal", "shelve"}

# Rooms from the top to the bottom of each house; imports only point to lower floors. A room is a folder or a module.
FLOORS = {
    "jaxpaged": (
        "__main__",
        "cli",
        "llm async_llm",
        "frontend engine_process",
        "engine",
        "execution weights",
        "decoder structured",
        "layers text",
        "scheduling sampling models",
        "kv quant",
        "sharding hub",
        "gguf",
        "outputs sampling_params arguments",
        "params config",
        "errors",
    ),
    "server": (
        "__main__",
        "start",
        "app report",
        "routes",
        "batches",
        "messages responses pooling files",
        "openai",
        "serving",
        "flags",
        "answers http",
        "errors",
    ),
}
MAX_LOOSE_MODULES = 8
# server and scripts beside the packages use these names only
PUBLIC = ("jaxpaged", "jaxpaged.cli")

MAX_FILE_LINES = 300
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


def room_of(path: Path) -> str:
    """The folder or the module right below a package."""
    return path.with_suffix("").parts[1]


def names_in_all(module: str) -> list[str]:
    """What a package's __init__.py lists in __all__."""
    (listed,) = (
        node.value
        for node in tree(Path(*module.split("."), "__init__.py")).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__"
    )
    return list(ast.literal_eval(listed))


def importers(paths: tuple[Path, ...], roots: set[str]) -> list[str]:
    """file:line of every import of one of the top-level modules."""
    lines = {f"{path}:{line}" for path in paths for name, line in imports(tree(path)) if name.split(".")[0] in roots}
    return sorted(lines)


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    yield from (node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def lines_of(path: Path) -> int:
    return len((ROOT / path).read_text().splitlines())


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


@pytest.mark.parametrize("package", FLOORS)
def test_every_room_has_a_floor_and_imports_lower_floors_only(package: str) -> None:
    floor_of = {room: floor for floor, rooms in enumerate(FLOORS[package]) for room in rooms.split()}
    assert {room_of(path) for path in sources(package)} - {"__init__"} == floor_of.keys()
    arrows = [(path, name, line) for path in sources(package) for name, line in imports(tree(path))]
    upward = [
        f"{path}:{line} imports {name}"
        for path, name, line in arrows
        if (here := room_of(path)) != "__init__"  # it loads each name on first use
        and name.startswith(f"{package}.")
        and (there := name.split(".")[1]) in floor_of
        and here != there
        and floor_of[here] >= floor_of[there]
    ]
    assert upward == []


def test_inside_jaxpaged_nothing_is_imported_by_its_public_name() -> None:
    """The floors would not see it."""
    public = {f"jaxpaged.{name}" for name in names_in_all("jaxpaged")} - {"jaxpaged.__version__"}
    assert [
        f"{path}:{line}" for path in sources("jaxpaged") for name, line in imports(tree(path)) if name in public
    ] == []


def test_the_server_uses_public_names_of_jaxpaged_only() -> None:
    allowed = {*PUBLIC, *(f"{module}.{name}" for module in PUBLIC for name in names_in_all(module))}
    hidden = [
        f"{path}:{line} imports {name}"
        for path in sources("server")
        for name, line in imports(tree(path))
        if name.split(".")[0] == "jaxpaged" and name not in allowed
    ]
    assert hidden == []


@pytest.mark.parametrize("package", FLOORS)
def test_few_modules_are_in_no_room(package: str) -> None:
    assert len([path for path in sources(package) if len(path.parts) == 2]) <= MAX_LOOSE_MODULES


def test_the_scheduler_and_the_plain_data_import_no_arrays() -> None:
    assert importers(sources(*JAX_FREE), ARRAY_LIBRARIES) == []


def test_importing_them_loads_no_jax() -> None:
    """The import graph below these modules, too, stays clear of jax: `jaxpaged --help` and the server start quickly."""
    paths = [path for folder in ("jaxpaged/__init__.py", *JAX_FREE) for path in sources(folder)]
    modules = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths]
    program = (
        "import importlib, sys\n"
        f"for name in {modules}:\n"
        "    importlib.import_module(name)\n"
        f"    if loaded := {ARRAY_LIBRARIES} & set(sys.modules): sys.exit(f'{{name}} loads {{sorted(loaded)}}')"
    )
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
    """The command lines are the exception: their imports wait for a command, so that --help is quick."""
    late = [
        f"{path}:{line}"
        for path in sources(*PACKAGES)
        if not path.is_relative_to("jaxpaged/cli") and path.name != "__main__.py"
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
    paths = sources(*PACKAGES, "tests", "scripts")
    long = {str(path): lines for path in paths if (lines := lines_of(path)) > MAX_FILE_LINES}
    assert {path: lines for path, lines in long.items() if path not in LENGTH_WAIVERS} == {}


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
            else lines_of(Path(path))
        )
        most = MAX_FUNCTION_LINES if function else MAX_FILE_LINES
        assert longest > most, f"{name} has become short: drop its waiver"
