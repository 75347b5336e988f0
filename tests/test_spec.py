"""The README's decisions and commands, and the suite itself: nothing is stated that no test stands for."""

import ast
import re
import shlex
from pathlib import Path

import pytest

import benchmark
import report
import siis
import train

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
ROWS = re.findall(r"^\| (D\d+) \|", README, flags=re.MULTILINE)
EXPERIMENTS = {"experiments", "sequences", "plan", "pictures", "report"}  # on top of siis
MODULES = sorted(p.stem for p in ROOT.glob("*.py"))


def docstrings():
    for file in (ROOT / "tests").glob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield file.name, node.name, ast.get_docstring(node) or ""


CITED = {row for _, _, text in docstrings() for row in re.findall(r"\bD\d+\b", text)}
CITED |= {
    f"D{n}"
    for _, _, text in docstrings()
    for a, b in re.findall(r"\bD(\d+)-D?(\d+)\b", text)
    for n in range(int(a), int(b) + 1)
}


def test_the_readme_has_the_thirty_decisions_in_order():
    """README, Decisions."""
    assert [f"D{n}" for n in range(1, 31)] == ROWS


@pytest.mark.parametrize("row", ROWS)
def test_every_decision_is_cited_by_a_test(row):
    """Each row D1 .. D30 has a test whose docstring names it."""
    assert row in CITED


def test_every_test_names_its_source():
    """A test without a docstring claims something that nobody said."""
    assert [f"{file}: {name}" for file, name, text in docstrings() if not text] == []


def test_the_readme_lists_every_module_and_the_package_installs_every_module():
    """README, 'Which module is which section'; pyproject.toml."""
    listed = sorted(re.findall(r"^\| `(\w+)\.py` \|", README, flags=re.MULTILINE))
    installed = re.search(r"py-modules = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), flags=re.DOTALL)
    assert listed == MODULES
    assert sorted(re.findall(r'"(\w+)"', installed.group(1))) == MODULES


def commands():
    joined, program = README.replace("\\\n", " "), r"python (?:siis|train|benchmark|report)\.py"
    lines = re.findall(rf"^    ({program}[^\n#]*)", joined, flags=re.MULTILINE)
    return [" ".join(line.split()) for line in lines + re.findall(rf"`({program}[^`]*)`", joined)]


@pytest.mark.parametrize("line", commands())
def test_every_command_of_the_readme_is_understood(line):
    """README: flags and values are those of the command lines."""
    _, program, *arguments = shlex.split(line)
    arguments = ["cpu" if a == "cuda" else a for a in arguments]
    parse = {"siis.py": siis, "train.py": train, "benchmark.py": benchmark, "report.py": report}[program].parse
    parse(arguments)


def test_imports_run_one_way():
    """Only the benchmark and the experiments import siis; icp and robot_user know no other module."""
    allowed = {
        "console": set(),
        "robot_user": set(),
        "icp": set(),
        "files": set(),
        "model": {"files"},
        "deeplab": {"model"},
        "samples": {"console"},
        "synthetic": {"samples"},
        "voc": {"console", "samples"},
        "coco": {"samples", "voc"},
        "data": {"coco", "console", "samples", "synthetic", "voc"},
        "clicks": {"model", "robot_user"},
        "mosaics": {"clicks", "console", "files", "samples", "model"},
        "crops": {"clicks", "samples", "model", "robot_user"},
        "recipe": {"clicks", "crops", "samples", "mosaics"},
        "trainer": {"clicks", "console", "crops", "files", "samples", "model", "recipe", "robot_user"},
        "train": {"console", "data", "files", "model", "mosaics", "recipe", "trainer"},
        "opo": {"clicks", "model"},
        "session": {"files", "icp", "model", "opo", "robot_user"},
        "ledger": {"files"},
        "figures": {"files"},
        "published": set(),
        "tables": {"ledger", "published", "robot_user"},
        "siis": set(MODULES) - {"siis", "benchmark", "deeplab", *EXPERIMENTS},
        "experiments": {"ledger", "published", "session", "tables"},
        "sequences": {"experiments", "figures", "ledger", "robot_user", "tables"},
        "plan": {"experiments", "ledger", "session", "siis"},
        "pictures": set(MODULES) - {"pictures", "report", "benchmark"},
        "report": set(MODULES) - {"report", "benchmark"},
        "benchmark": set(MODULES) - {"benchmark", *EXPERIMENTS},
    }
    for module in MODULES:
        names = {
            name.split(".")[0]
            for node in ast.walk(ast.parse((ROOT / f"{module}.py").read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else [node.module])
        }
        assert names & set(MODULES) <= allowed[module]
