"""What README, docs/ and CONTRIBUTING say: commands, example, links, decisions and the direction of imports."""

import ast
import re
import shlex
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
PAGES = [page for place in (".", "docs", "weights") for page in sorted(ROOT.glob(f"{place}/*.md"))]
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
    """README: the library, word for word, with the network that ships."""
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"^```python\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    names: dict = {}
    exec(example, names)
    assert names["mask"].any()
    assert (tmp_path / "butterflies.pt").exists()


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


@cache
def tree_of(file):
    return ast.parse(file.read_text(encoding="utf-8"))


def cited():
    """The decisions that docstrings of tests name, those within a span such as D14-D16 too."""
    nodes = (node for file in (ROOT / "tests").rglob("test_*.py") for node in ast.walk(tree_of(file)))
    for node in nodes:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            for first, last in re.findall(r"\bD(\d+)(?:-D?(\d+))?\b", ast.get_docstring(node) or ""):
                yield from (f"D{n}" for n in range(int(first), int(last or first) + 1))


CITED = set(cited())


# ---- imports ---------------------------------------------------------------------------------------------------------


OURS = {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in SOURCES}
ORDER = ["support", "loaders", "clicks", "icp", "robot_user", "model", "opo", "session", "annotator", "data"]
ORDER += ["training", "siis", "experiments", "annotate", "benchmark", "report", "train"]  # siis: annotate_sequence


def imports_of(nodes):
    """The modules of ours that some nodes of a syntax tree import."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names & OURS.keys() - set(PACKAGES)


def test_imports_run_one_way():
    """CONTRIBUTING, 'Where things go': `icp` and `robot_user` know no network and no data set; programs stand last."""
    found = 0
    for name, file in OURS.items():
        tree, own = tree_of(file), name.split(".")[0]
        for other in imports_of(tree.body if own == "siis" else ast.walk(tree)):
            assert ORDER.index(other.split(".")[0]) <= ORDER.index(own), f"{name} imports {other}"
            found += 1
    assert found > 50


def test_there_is_no_import_cycle():
    """CONTRIBUTING, 'Where things go'."""
    remaining = {name: imports_of(tree_of(file).body) for name, file in OURS.items()}
    while free := [module for module, imports in remaining.items() if not imports & remaining.keys()]:
        for module in free:
            del remaining[module]
    assert remaining == {}
