"""The documents and the tree: nothing is stated that no test stands for, and every file is where it belongs."""

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
DECISIONS = (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (D\d+) \|", DECISIONS, flags=re.MULTILINE)
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("weights/*.md")),
]
PACKAGES = ("annotator", "experiments", "loaders", "support", "training")
PROGRAMS = {p.stem for p in ROOT.glob("*.py") if "run_main(main" in p.read_text(encoding="utf-8")}
SOURCES = sorted([*ROOT.glob("*.py"), *(p for package in PACKAGES for p in ROOT.glob(f"{package}/*.py"))])
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def name_of(file):
    """The dotted name of a module of ours."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


OURS = {name_of(file) for file in SOURCES}


@cache
def tree_of(file):
    return ast.parse(file.read_text(encoding="utf-8"))


def imports_of(file):
    """The modules of ours that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names & OURS - set(PACKAGES)


GRAPH = {name_of(file): imports_of(file) for file in SOURCES}


def test_the_walks_find_the_tree():
    """CONTRIBUTING, 'Where things go': a guard that looks at nothing guards nothing."""
    assert {"siis", "train", "report", "benchmark", "annotate"} == PROGRAMS
    assert {"session", "model", "icp", "opo", "robot_user", "data"} <= OURS
    for package in PACKAGES:
        assert sum(name.startswith(f"{package}.") for name in OURS) > 1
    assert sum(len(imports) for imports in GRAPH.values()) > 50
    assert len(TESTS) > 20


# ---- imports ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", sorted(GRAPH))
def test_packages_never_import_a_program(module):
    """CONTRIBUTING, 'Where things go'."""
    if module.split(".")[0] in PACKAGES:
        assert not GRAPH[module] & PROGRAMS


@pytest.mark.parametrize(
    ("part", "allowed"),
    [
        ("support", ("support",)),
        ("icp", ()),
        ("robot_user", ("support",)),
        ("model", ("support",)),
        ("loaders", ("loaders", "support")),
        ("session", ("icp", "model", "opo", "robot_user", "session_file", "settings", "support")),
        ("annotator", ("annotator", "session", "loaders", "support")),
    ],
)
def test_each_part_stands_only_on_what_it_may(part, allowed):
    """CONTRIBUTING, 'Where things go': `icp` and `robot_user` know no network and no data set."""
    for module, imports in GRAPH.items():
        if module.split(".")[0] == part:
            assert {name.split(".")[0] for name in imports} <= set(allowed), module


def test_imports_run_in_no_circle():
    """CONTRIBUTING, 'Where things go': imports run one way."""
    remaining = {module: set(imports) for module, imports in GRAPH.items()}
    while free := [module for module, imports in remaining.items() if not imports & remaining.keys()]:
        for module in free:
            del remaining[module]
    assert remaining == {}


# ---- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", [*SOURCES, *TESTS], ids=lambda file: str(file.relative_to(ROOT)))
def test_no_file_and_no_function_is_too_long_to_read_in_one_go(file):
    """CONTRIBUTING, 'Where things go': 300 lines per file, 450 per test file, 40 per function."""
    assert len(file.read_text(encoding="utf-8").splitlines()) <= (450 if file in TESTS else 300)
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.FunctionDef) and file not in TESTS:
            assert node.end_lineno - node.lineno < 40, node.name


def test_the_readme_can_be_read_in_five_minutes():
    """README: 150 lines and 1,500 words."""
    assert len(README.splitlines()) <= 150
    assert len(README.split()) <= 1500


# ---- tests -----------------------------------------------------------------------------------------------------------


def docstrings():
    for file in TESTS:
        for node in ast.walk(tree_of(file)):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield file.name, node.name, ast.get_docstring(node) or ""


CITED = {row for _, _, text in docstrings() for row in re.findall(r"\bD\d+\b", text)}
CITED |= {
    f"D{n}"
    for _, _, text in docstrings()
    for a, b in re.findall(r"\bD(\d+)-D?(\d+)\b", text)
    for n in range(int(a), int(b) + 1)
}


def test_the_decisions_are_numbered_in_order():
    """docs/decisions.md."""
    assert [f"D{n}" for n in range(1, 34)] == ROWS


@pytest.mark.parametrize("row", ROWS)
def test_every_decision_is_cited_by_a_test(row):
    """docs/decisions.md: each row has a test whose docstring names it."""
    assert row in CITED


def test_every_test_names_its_source():
    """CONTRIBUTING, 'How tests read': a test without a docstring claims something that nobody said."""
    assert [f"{file}: {name}" for file, name, text in docstrings() if not text] == []


def test_no_docstring_cites_a_page_that_is_not_here():
    """CONTRIBUTING, 'How tests read': its headings are cited, and no other guide to style or design."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    found = [(file, node) for file in TESTS for node in ast.walk(tree_of(file)) if isinstance(node, documented)]
    assert [file.name for file, node in found if re.search("STYLE|DESIGN", ast.get_docstring(node) or "")] == []
    headings = re.findall(r"^## (.+)", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    cited = {name for _, _, text in docstrings() for name in re.findall(r"CONTRIBUTING, '([^']+)'", text)}
    assert cited - set(headings) == set()


# ---- documents -------------------------------------------------------------------------------------------------------


def commands():
    """Every command line of ours in the documents, wherever it stands in a line of code."""
    start = r"(?:python|torchrun(?: --nproc-per-node \d+)?)"
    command = rf"\b{start} (?:siis|train|benchmark|report|annotate)\.py"
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        code = re.findall(rf"^    .*|`{start}[^`]*`", text, flags=re.MULTILINE)
        for piece in code:
            yield from (line.strip() for line in re.findall(rf"{command}[^#`&]*", " ".join(piece.split())))


def test_the_walk_finds_the_commands():
    """README: the two commands that it begins with, after `&&`, and those of several processes."""
    found = set(commands())
    assert {"python siis.py", "python siis.py --data LeedsButterfly --device cuda"} <= found
    assert "torchrun --nproc-per-node 8 siis.py --data LeedsButterfly" in found
    pages = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert {line.split(".py")[0] for line in re.findall(r"torchrun .*?\.py", pages)} <= {
        c.split(".py")[0] for c in found
    }


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_every_command_in_the_documents_is_understood(line):
    """README, docs/, weights/README.md: flags and values are those of the command lines."""
    words = shlex.split(line)
    at = next(i for i, word in enumerate(words) if word.endswith(".py"))
    arguments = ["cpu" if a == "cuda" else a for a in words[at + 1 :]]
    modules = {"siis": siis, "train": train, "benchmark": benchmark, "report": report, "annotate": annotate}
    modules[words[at].removesuffix(".py")].parse(arguments)


def test_the_example_of_the_readme_runs(tmp_path, monkeypatch, small_batches):
    """README, 'As a library': the example, word for word, with the network that ships."""
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"^```python\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    names: dict = {}
    exec(example, names)
    assert names["proposal"] is not None
    assert names["mask"].any()
    assert (tmp_path / "butterflies.pt").exists()


def test_every_link_in_the_documents_leads_somewhere():
    """README, docs/: links between files."""
    links = [
        (page, link) for page in PAGES for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    ]
    assert links
    assert [(page.name, link) for page, link in links if not (page.parent / link).exists()] == []


def test_the_map_of_the_readme_names_functions_and_tests_that_exist():
    """README, 'Where is what': equation or section, the function, the test that defines it."""
    rows = re.findall(
        r"^\| [^|]+ \| `([\w/]+\.py): ([\w.]+)` \| `(tests/[\w/]+\.py): (\w+)` \|", README, flags=re.MULTILINE
    )
    assert len(rows) >= 8
    for file, function, test_file, test in rows:
        for place, name in ((file, function.split(".")[-1]), (test_file, test)):
            names = {getattr(node, "name", None) for node in ast.walk(tree_of(ROOT / place))}
            assert name in names, f"{place}: {name}"


def test_an_install_makes_nothing_of_ours_importable():
    """CONTRIBUTING, 'Where things go': `data`, `model` or `train` would shadow other people's modules."""
    assert re.search(r"^py-modules = \[\]", (ROOT / "pyproject.toml").read_text("utf-8"), flags=re.MULTILINE)
    assert re.search(r"^packages = \[\]", (ROOT / "pyproject.toml").read_text("utf-8"), flags=re.MULTILINE)
