"""The rooms and their order, and what no file may do. Each checker is a function of source text, seen red below."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in sorted((ROOT / "landscape").rglob("*.py"))}

LAYERS = (
    ("errors",),
    ("allocator", "config", "cuda_graph", "storage", "seeding", "progress", "description", "inputs"),
    ("parameters", "models", "datasets"),
    (
        "objective",
        "objective_checks",
        "arguments",
        "rectifier",
        "balls",
        "bounds",
        "convolution",
        "differentiable",
        "double_backward",
        "fixed_data",
        "folding",
        "in_place",
        "leaking",
        "loss_checks",
        "loss_function",
        "optim",
        "pooling",
        "precision",
        "regularizers",
        "replica",
        "scores",
        "structure",
        "substitution",
        "tracing",
    ),
    ("training", "surface", "curvature", "sharpness", "robustness"),
    ("study", "translation", "recipes"),
    ("plotting",),
    ("widgets",),
    ("doctor", "doctor_probes", "notebook_html"),
    ("notebooks",),
    (
        "cli",
        "cli_analysis",
        "cli_lists",
        "cli_mistakes",
        "cli_notebook",
        "cli_options",
        "cli_robustness",
        "cli_runs",
        "cli_sharpness",
        "cli_study",
    ),
    ("",),  # landscape/__init__.py, which only passes names on
    ("__main__",),
)
RANKS = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}
RESULT_RANKS = range(RANKS["objective"], RANKS["plotting"])

WRITERS = ("landscape/storage/", "landscape/training/checkpoint.py")
FILE_LINES, FUNCTION_LINES = 400, 60


# ------------------------------------------------------------------------------------------------ who imports whom


def module_name(path: str) -> str:
    """``landscape/a/b.py`` is ``landscape.a.b``; a package's ``__init__.py`` is the package."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def room(module: str) -> str:
    return [*module.split("."), ""][1]


def _nodes(tree: ast.AST, when: str) -> Iterator[ast.AST]:
    """All nodes: "ever"; not those under ``if TYPE_CHECKING``: "running"; and not those in functions: "loading"."""
    for node in ast.iter_child_nodes(tree):
        types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        late = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if not (types and when != "ever") and not (late and when == "loading"):
            yield node
            yield from _nodes(node, when)


def imported(path: str, source: str, modules: set[str], when: str = "ever") -> set[str]:
    """The modules of this package that a file imports anywhere in it; see ``_nodes`` for ``when``."""
    found = set()
    for node in _nodes(ast.parse(source), when):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = module_name(path).split(".")
            if not path.endswith("__init__.py"):
                package = package[:-1]
            base = ".".join(package[: len(package) - node.level + 1]) + "." if node.level else ""
            base = (base + (node.module or "")).rstrip(".")
            for alias in node.names:
                deeper = f"{base}.{alias.name}"
                found.add(deeper if deeper in modules else base)
    return {name for name in found if name.split(".")[0] == "landscape"} - {module_name(path)}


def upward(sources: dict[str, str]) -> list[str]:
    """Imports that go up, from or to a room that has no place, and what plotting imports beside results."""
    modules, found = set(map(module_name, sources)), []
    for path, source in sources.items():
        here = room(module_name(path))
        if here not in RANKS:
            found.append(f"{path}: the room {here!r} has no layer; give it one")
            continue
        for target in sorted(imported(path, source, modules)):
            there = room(target)
            if there not in RANKS:
                found.append(f"{path} imports {target}, whose room has no layer")
            elif RANKS[there] > RANKS[here]:
                found.append(f"{path} imports {target}, which is above it")
            elif here == "plotting" and RANKS[there] in RESULT_RANKS and target.split(".")[-1] != "results":
                found.append(f"{path} imports {target}; plotting reads result classes only")
    return found


def circles(sources: dict[str, str]) -> list[list[str]]:
    """Groups of modules that import each other in a circle while they load, and of rooms that do so at any time.

    Inside one room a function may import a file late that imports its own: that is how a chart finds its backends.
    """
    modules = set(map(module_name, sources))
    files = {module_name(path): imported(path, source, modules, "loading") for path, source in sources.items()}
    rooms: dict[str, set[str]] = {}
    for path, source in sources.items():
        here = room(module_name(path))
        targets = {room(target) for target in imported(path, source, modules, "running")}
        rooms.setdefault(here, set()).update(targets - {here})
    return [*_strongly_connected(files), *_strongly_connected(rooms)]


def _strongly_connected(graph: dict[str, set[str]]) -> list[list[str]]:
    def reachable(start: str) -> set[str]:
        seen, todo = set(), [start]
        while todo:
            for target in graph.get(todo.pop(), ()):
                if target not in seen:
                    seen.add(target)
                    todo.append(target)
        return seen

    reach = {node: reachable(node) for node in graph}
    groups = {
        tuple(sorted(m for m in reach[node] if node in reach.get(m, ()))) for node in graph if node in reach[node]
    }
    return [list(group) for group in sorted(groups)]


# ------------------------------------------------------------------------------------------- what no file may do


def _called(node: ast.Call) -> str:
    return ast.unparse(node.func) if isinstance(node.func, ast.Name | ast.Attribute) else ""


def _keyword(node: ast.Call, name: str) -> object:
    for keyword in node.keywords:
        if keyword.arg == name:
            return keyword.value.value if isinstance(keyword.value, ast.Constant) else ...
    return None


def forbidden(source: str) -> list[str]:
    """Ways of running what a file or a text says: unpickling, eval, exec, unsafe YAML, a shell."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name.split(".")[0] for alias in node.names} | {
                (getattr(node, "module", "") or "").split(".")[0]
            }
            bad = names & {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal"}
            found += [f"line {node.lineno}: imports {name}" for name in sorted(bad)]
        if not isinstance(node, ast.Call):
            continue
        called, last = _called(node), _called(node).split(".")[-1]
        if called in ("eval", "exec", "__import__", "os.system", "os.popen", "joblib.load", "torch.save"):
            found.append(f"line {node.lineno}: calls {called}")
        if called == "yaml.load":
            found.append(f"line {node.lineno}: calls yaml.load; use yaml.safe_load")
        if called == "torch.load" and _keyword(node, "weights_only") is not True:
            found.append(f"line {node.lineno}: calls torch.load without weights_only=True")
        if (
            last in ("load", "np.load")
            and called in ("np.load", "numpy.load")
            and _keyword(node, "allow_pickle") is not False
        ):
            found.append(f"line {node.lineno}: calls {called} without allow_pickle=False")
        for flag in ("shell", "allow_pickle"):
            if _keyword(node, flag) not in (None, False):
                found.append(f"line {node.lineno}: {flag}=True")
    return found


def writes(source: str) -> list[str]:
    """Calls that open a file for writing."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and (what := _write(node)):
            found.append(f"line {node.lineno}: {what}")
    return found


def _write(node: ast.Call) -> str:
    called = _called(node)
    owner, _, last = called.rpartition(".")
    if not called and isinstance(node.func, ast.Attribute):
        last = node.func.attr
    if last == "open" and owner != "os":
        # open(path, mode), io.open(path, mode) and the like; path.open(mode)
        place = 1 if owner in ("", "io", "gzip", "bz2", "lzma", "tarfile", "zipfile", "codecs", "Image") else 0
        given = next((k.value for k in node.keywords if k.arg == "mode"), None)
        given = given or (node.args[place] if len(node.args) > place else ast.Constant("r"))
        if isinstance(given, ast.Constant) and isinstance(given.value, str):
            return f"open() with mode {given.value!r}" if set(given.value) & set("wax+") else ""
        return "open() with a mode to be seen later" if place or ast.unparse(given) == "mode" else ""
    if last == "ZipFile" and len(node.args) > 1 and getattr(node.args[1], "value", "w") != "r":
        return "a zip file for writing"
    if last in ("write_text", "write_bytes") and owner and owner.split(".")[-1] != "storage":
        return f"pathlib's {last}"
    if owner in ("np", "numpy") and last in ("save", "savez", "savez_compressed", "savetxt", "memmap"):
        return called
    if called in ("os.open", "os.fdopen", "tempfile.NamedTemporaryFile", "tempfile.mkstemp", "json.dump", "save_file"):
        return called
    return last if last in ("tofile", "open_memmap") else ""


# ------------------------------------------------------------------------------------------------- size and manners


def too_long(source: str) -> list[str]:
    """Files of 400 lines or more, and functions of 60 or more beside their docstrings."""
    found = [f"{count} lines"] if (count := len(source.splitlines())) >= FILE_LINES else []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node, clean=False)
            lines = node.end_lineno - node.lineno + 1 - (len(text.splitlines()) if text else 0)
            if lines >= FUNCTION_LINES:
                found.append(f"{node.name}: {lines} lines")
    return found


def undocumented(source: str) -> list[str]:
    """Public functions, classes and methods without a docstring, and unannotated arguments or returns anywhere."""
    tree, found = ast.parse(source), []
    if not ast.get_docstring(tree):
        found.append("the module has no docstring")
    _manners(tree.body, "", public=True, found=found)
    return found


def _manners(body: list[ast.stmt], prefix: str, *, public: bool, found: list[str]) -> None:
    for node in body:
        if isinstance(node, ast.ClassDef):
            shown = public and not node.name.startswith("_")
            if shown and not ast.get_docstring(node):
                found.append(f"{prefix}{node.name} has no docstring")
            _manners(node.body, f"{prefix}{node.name}.", public=shown, found=found)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            overload = any(ast.unparse(decorator).endswith(("overload", "setter")) for decorator in node.decorator_list)
            if public and not node.name.startswith("_") and not overload and not ast.get_docstring(node):
                found.append(f"{prefix}{node.name} has no docstring")
            found += [
                f"{prefix}{node.name}: {missing} is not annotated"
                for missing in _unannotated(node, method=bool(prefix))
            ]
        elif isinstance(node, ast.If | ast.Try):
            _manners(node.body, prefix, public=public, found=found)


def _unannotated(node: ast.FunctionDef | ast.AsyncFunctionDef, *, method: bool) -> list[str]:
    arguments = [*node.args.posonlyargs, *node.args.args]
    static = any(ast.unparse(decorator) == "staticmethod" for decorator in node.decorator_list)
    if method and arguments and not static:
        arguments = arguments[1:]
    arguments += [*node.args.kwonlyargs, *filter(None, (node.args.vararg, node.args.kwarg))]
    missing = [argument.arg for argument in arguments if argument.annotation is None]
    return missing + (["return"] if node.returns is None else [])


# ------------------------------------------------------------------------------------------------ the package itself


def test_imports_go_down():
    assert upward(SOURCES) == []


def test_no_imports_in_a_circle():
    assert circles(SOURCES) == []


@pytest.mark.parametrize("path", SOURCES)
def test_nothing_is_unpickled_or_evaluated(path):
    assert forbidden(SOURCES[path]) == []


def test_notebooks_and_benchmarks_neither():
    others = {path.relative_to(ROOT).as_posix(): path.read_text() for path in (ROOT / "benchmarks").rglob("*.py")}
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
        others |= {f"{path.name}, cell {number}": "".join(cell["source"]) for number, cell in enumerate(cells)}
    plain = {
        where: "\n".join(line for line in source.splitlines() if line[:1] not in "%!")
        for where, source in others.items()
    }
    assert {where: found for where, source in plain.items() if (found := forbidden(source))} == {}


def test_only_storage_opens_files_for_writing():
    found = {path: writes(source) for path, source in SOURCES.items() if not path.startswith(WRITERS)}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize("path", SOURCES)
def test_files_and_functions_are_short(path):
    assert too_long(SOURCES[path]) == []


@pytest.mark.parametrize("path", SOURCES)
def test_public_names_are_documented_and_signatures_annotated(path):
    assert undocumented(SOURCES[path]) == []


# --------------------------------------------------------------------------------------------- what an import loads

NEVER_LOADED = {
    "matplotlib", "plotly", "ipywidgets", "anywidget", "pandas", "sklearn", "torchvision", "scipy", "PIL", "jupyter",
    "jupyterlab", "IPython", "ipykernel", "papermill", "nbformat", "tyro", "mnist1d", "dask", "requests",
}  # fmt: skip
MAY_BE_ADDED = {"landscape", "numpy", "safetensors"}

FRESH = """
import json, sys
events = []
sys.addaudithook(lambda event, arguments: events.append(event) if armed else None)
armed = False
import torch, numpy, numpy.random
before, threads, rng = set(sys.modules), torch.get_num_threads(), torch.get_rng_state()
armed = True
import landscape
names = list(landscape.__all__)
for name in names:
    getattr(landscape, name)
armed = False
added = sorted({name.split(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))
same = torch.get_num_threads() == threads and torch.equal(torch.get_rng_state(), rng)
print(json.dumps({"added": added, "loaded": sorted({name.split(".")[0] for name in sys.modules}), "names": names,
                  "events": sorted(set(events)), "same": same}))
"""


@pytest.fixture(scope="module")
def fresh_import() -> dict:
    """What a fresh process saw while it imported landscape and touched every public name."""
    done = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_import_loads_nothing_heavy(fresh_import):
    assert set(fresh_import["loaded"]) & NEVER_LOADED == set()


def test_import_adds_only_what_is_listed_to_what_torch_loads(fresh_import):
    assert set(fresh_import["added"]) <= MAY_BE_ADDED


def test_import_starts_nothing_listens_nowhere_and_changes_nothing(fresh_import):
    started = ("socket.bind", "socket.connect", "subprocess.Popen", "os.fork", "os.system", "pickle.find_class")
    assert set(fresh_import["events"]) & set(started) == set()
    assert fresh_import["same"]


def test_the_public_names_are_few_and_sorted_into_groups(fresh_import):
    assert len(fresh_import["names"]) == len(set(fresh_import["names"]))
    assert 0 < len(fresh_import["names"]) <= 60


# ------------------------------------------------------------------------------------------ the checkers, seen red


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("landscape/surface/a.py", "from landscape.plotting import contour", "above"),
        ("landscape/surface/a.py", "def f():\n    import landscape.widgets", "above"),
        ("landscape/surface/a.py", "from ..training.run import Run\nfrom ..cli import main", "above"),
        ("landscape/storage/a.py", "import landscape", "above"),
        ("landscape/storage/a.py", "from landscape import cli", "above"),
        ("landscape/kitchen/a.py", "", "no layer"),
        ("landscape/surface/a.py", "import landscape.kitchen", "no layer"),
        ("landscape/plotting/a.py", "from landscape.surface.evaluate import evaluate_line", "result classes only"),
        (
            "landscape/plotting/a.py",
            "if TYPE_CHECKING:\n    from landscape.surface import Surface",
            "result classes only",
        ),
    ],
)
def test_upward_sees(path, source, complaint):
    sources = {path: source, "landscape/cli.py": "", "landscape/surface/evaluate.py": ""}
    (message,) = upward(sources)
    assert complaint in message


def test_upward_lets_pass():
    good = {
        "landscape/surface/a.py": "import torch\nfrom landscape.errors import DataError\nimport landscape.curvature",
        "landscape/surface/b.py": "from .a import f",
        "landscape/storage/__init__.py": "",
        "landscape/doctor.py": "",
        "landscape/plotting/a.py": "from landscape.surface.results import Surface\nfrom landscape.plotting.b import g",
        "landscape/cli.py": "def main():\n    from landscape import doctor, storage",
    }
    assert upward(good) == []


@pytest.mark.parametrize(
    "sources",
    [
        {"landscape/a.py": "import landscape.b", "landscape/b.py": "def f():\n    from landscape import a"},
        {"landscape/x/a.py": "import landscape.x.b", "landscape/x/b.py": "try:\n    from . import a\nfinally: pass"},
        {"landscape/x/__init__.py": "from landscape.x.a import f", "landscape/x/a.py": "from landscape.x import g"},
        {"landscape/a.py": "import landscape.b", "landscape/b.py": "from .c import f",
         "landscape/c.py": "from . import a"},
        {
            "landscape/x/a.py": "import landscape.y.a", "landscape/y/b.py": "import landscape.x.b",
            "landscape/x/b.py": "", "landscape/y/a.py": "",
        },  # rooms in a circle, though no file is
    ],
)  # fmt: skip
def test_circles_sees(sources):
    assert circles(sources)


def test_circles_lets_pass():
    sources = {
        "landscape/a.py": "import landscape.b",
        "landscape/b.py": "if TYPE_CHECKING:\n    from landscape.a import T",
        "landscape/x/a.py": "import landscape.x.b",
        "landscape/x/b.py": "def f():\n    import landscape.x.a",
    }
    assert circles(sources) == []


@pytest.mark.parametrize(
    "source",
    ["import pickle", "from pickle import loads", "eval('1')", "exec(text)", "yaml.load(f)", "torch.save(x, p)",
     "torch.load(p)", "torch.load(p, weights_only=False)", "np.load(p)", "np.load(p, allow_pickle=True)",
     "subprocess.run(c, shell=True)", "subprocess.run(c, shell=flag)", "os.system(c)",
     "np.save(f, a, allow_pickle=True)"],
)  # fmt: skip
def test_forbidden_sees(source):
    assert forbidden(source)


@pytest.mark.parametrize(
    "source",
    ["model.eval()", "yaml.safe_load(f)", "torch.load(p, weights_only=True)", "np.load(p, allow_pickle=False)",
     "json.load(f)", "subprocess.run(c)", "# pickle", "'eval(x)'"],
)  # fmt: skip
def test_forbidden_lets_pass(source):
    assert forbidden(source) == []


@pytest.mark.parametrize(
    "source",
    ["open(p, 'w')", "open(p, mode='ab')", "open(p, 'r+')", "open(p, mode)", "path.open('x')", "path.write_text('')",
     "Path(p).write_bytes(b'')", "(a / b).write_text('')", "np.save(p, a)", "np.savez(p, a=a)",
     "os.open(p, os.O_WRONLY)", "path.open(mode)",
     "gzip.open(p, 'wb')", "json.dump(x, f)", "zipfile.ZipFile(p, 'w')", "a.tofile(p)", "save_file(t, p)"],
)  # fmt: skip
def test_writes_sees(source):
    assert writes(source)


@pytest.mark.parametrize(
    "source",
    ["open(p)", "open(p, 'rb')", "path.open()", "path.open('rb')", "storage.write_bytes(p, b'')", "write_text(p, t)",
     "zipfile.ZipFile(p)", "Image.open(p)",
     "spec.open(request)", "np.load(p)", "sys.stdout.write(t)", "json.dumps(x)", "path.read_text()"],
)  # fmt: skip
def test_writes_lets_pass(source):
    assert writes(source) == []


def test_too_long_sees():
    assert too_long("x = 1\n" * 400) == ["400 lines"]
    assert too_long("x = 1\n" * 399) == []
    body = "    x = 1\n"
    assert too_long("def f():\n" + body * 59) == ["f: 60 lines"]
    assert too_long("def f():\n" + body * 58) == []
    assert too_long('def f():\n    """One.\n' + "\n    Two.\n" * 20 + '    """\n' + body * 57) == []


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("x = 1", "module has no docstring"),
        ("'''m'''\ndef f() -> None: ...", "f has no docstring"),
        ("'''m'''\nclass A: ...", "A has no docstring"),
        ("'''m'''\nclass A:\n    '''a'''\n    def f(self) -> None: ...", "A.f has no docstring"),
        ("'''m'''\ndef f(x) -> None:\n    '''d'''", "x is not annotated"),
        ("'''m'''\ndef f(*x: int, **y) -> None:\n    '''d'''", "y is not annotated"),
        ("'''m'''\ndef _f(x: int):\n    pass", "return is not annotated"),
        ("'''m'''\nclass _A:\n    @staticmethod\n    def f(x) -> None: ...", "x is not annotated"),
        ("'''m'''\nif x:\n    def f() -> None: ...", "f has no docstring"),
    ],
)
def test_undocumented_sees(source, complaint):
    (message,) = undocumented(source)
    assert complaint in message


def test_undocumented_lets_pass():
    source = (
        "'''m'''\nclass _A:\n    def f(self, x: int) -> int: ...\n\ndef g(*a: int, b: int = 1) -> None:\n    '''d'''\n"
    )
    assert undocumented(source) == []


@pytest.mark.parametrize("room", ["optim", "surface", "recipes", "curvature", "training", "plotting"])
def test_rooms_are_there_without_being_imported(room) -> None:
    code = f"import landscape as ll; print(ll.{room}.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == f"landscape.{room}", done.stderr
