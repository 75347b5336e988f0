"""What README, docs/ and CONTRIBUTING say: commands, example, links, decisions and the direction of imports."""

import ast
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import annotate
import benchmark
import report
import siis
import train

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (D\d+) \|", (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("weights/*.md")),
]
PACKAGES = ("annotator", "experiments", "loaders", "support", "training")
PROGRAMS = {"siis": siis, "train": train, "benchmark": benchmark, "report": report, "annotate": annotate}
SOURCES = sorted([*ROOT.glob("*.py"), *(p for package in PACKAGES for p in ROOT.glob(f"{package}/*.py"))])


# ---- documents -------------------------------------------------------------------------------------------------------


def commands():
    """Every command line of ours in the documents, wherever it stands in a line of code."""
    start = r"(?:python|torchrun(?: --nproc-per-node \d+)?)"
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for piece in re.findall(rf"^    .*|`{start}[^`]*`", text, flags=re.MULTILINE):
            found = re.findall(rf"\b{start} (?:{'|'.join(PROGRAMS)})\.py[^#`&]*", " ".join(piece.split()))
            yield from (line.strip() for line in found)


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_every_command_in_the_documents_is_understood(line):
    """README, docs/, weights/README.md: flags and values are those of the command lines."""
    words = shlex.split(line.replace("--device cuda", "--device cpu"))
    at = next(i for i, word in enumerate(words) if word.endswith(".py"))
    PROGRAMS[words[at].removesuffix(".py")].parse(words[at + 1 :])


def test_the_example_of_the_readme_runs(tmp_path, monkeypatch, small_batches):
    """README: the example of the library, word for word, with the network that ships."""
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"^```python\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    names: dict = {}
    exec(example, names)
    assert names["mask"].any()
    assert (tmp_path / "butterflies.pt").exists()


def test_a_program_elsewhere_uses_the_checkout_and_a_module_of_the_same_name_cannot_be_missed(tmp_path):
    """README: PYTHONPATH names the checkout; a file of the user's that is named like one of ours goes first."""
    (tmp_path / "use.py").write_text("from session import Session, Settings\nprint(Session, Settings)\n")

    def run():
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        line = [sys.executable, tmp_path / "use.py"]
        return subprocess.run(line, env=environment, capture_output=True, text=True, check=False)

    assert run().returncode == 0
    (tmp_path / "icp.py").write_text("RATE = 1\n")
    clash = run()
    assert clash.returncode == 1
    assert re.search(r"ImportError: cannot import name '\w+' from 'icp' \(.*icp\.py\)", clash.stderr)
    assert str(tmp_path / "icp.py") in clash.stderr


def test_an_install_makes_nothing_of_ours_importable():
    """CONTRIBUTING, 'Where things go': `data`, `model` or `train` would shadow other people's modules."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r"^py-modules = \[\]", text, flags=re.MULTILINE)
    assert re.search(r"^packages = \[\]", text, flags=re.MULTILINE)


def test_every_link_in_the_documents_leads_somewhere():
    """README, docs/: links between files."""
    links = [(p, link) for p in PAGES for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", p.read_text("utf-8"))]
    assert links
    assert [(page.name, link) for page, link in links if not (page.parent / link).exists()] == []


def test_the_map_of_the_readme_names_functions_and_tests_that_exist():
    """README, the map: equation or section, the function, the test that defines it."""
    rows = re.findall(r"`([\w/]+\.py): ([\w.]+)` \| `(tests/[\w/]+\.py): (\w+)` \|", README)
    assert len(rows) >= 8
    for file, function, test_file, test in rows:
        for place, name in ((file, function.split(".")[-1]), (test_file, test)):
            names = {getattr(node, "name", None) for node in ast.walk(tree_of(ROOT / place))}
            assert name in names, f"{place}: {name}"


@pytest.mark.parametrize("row", ROWS)
def test_every_decision_is_cited_by_a_test(row):
    """docs/decisions.md: each row has a test whose docstring names it."""
    assert row in CITED


def docstrings():
    for file in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(tree_of(file)):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield ast.get_docstring(node) or ""


@cache
def tree_of(file):
    return ast.parse(file.read_text(encoding="utf-8"))


CITED = {row for text in docstrings() for row in re.findall(r"\bD\d+\b", text)}
CITED |= {
    f"D{n}"
    for text in docstrings()
    for first, last in re.findall(r"\bD(\d+)-D?(\d+)\b", text)
    for n in range(int(first), int(last) + 1)
}


# ---- imports ---------------------------------------------------------------------------------------------------------


def name_of(file):
    """The dotted name of a module of ours."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


OURS = {name_of(file) for file in SOURCES}


def imports_of(nodes):
    """The modules of ours that some nodes of a syntax tree import."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names & OURS - set(PACKAGES)


EVERYWHERE = {name_of(file): imports_of(ast.walk(tree_of(file))) for file in SOURCES}
AT_ONCE = {name_of(file): imports_of(tree_of(file).body) for file in SOURCES}  # when the module is imported


@pytest.mark.parametrize(
    ("part", "allowed"),
    [
        ("support", ("support",)),
        ("clicks", ("support",)),
        ("icp", ("clicks",)),
        ("robot_user", ("clicks", "support")),
        ("model", ("clicks", "support")),
        ("loaders", ("loaders", "support")),
        ("session", ("clicks", "icp", "model", "opo", "support")),
        ("annotator", ("annotator", "clicks", "icp", "loaders", "model", "opo", "session", "support")),
        ("training", ("training", "clicks", "loaders", "model", "opo", "robot_user", "support")),
        ("experiments", ("experiments", "training", "loaders", "support", "siis", *OURS - set(PROGRAMS))),
    ],
)
def test_each_part_stands_only_on_what_it_may(part, allowed):
    """CONTRIBUTING, 'Where things go': `icp` and `robot_user` know no network and no data set."""
    found = [imports for module, imports in EVERYWHERE.items() if module.split(".")[0] == part]
    assert any(found) or part in ("icp", "model")
    assert {name.split(".")[0] for imports in found for name in imports} <= set(allowed)


def test_there_is_no_import_cycle():
    """CONTRIBUTING, 'Where things go': imports run one way."""
    remaining = {module: set(imports) for module, imports in AT_ONCE.items()}
    assert sum(map(len, remaining.values())) > 50
    while free := [module for module, imports in remaining.items() if not imports & remaining.keys()]:
        for module in free:
            del remaining[module]
    assert remaining == {}
