"""The one file that a site installs: complete, readable, and for old Pythons."""

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from spawners.gate.checking import is_script
from spawners.gate_file import DIALECTS, assemble

ROOT = Path(__file__).parents[3]
DIALECT_NAMES = sorted(DIALECTS)


def old_python() -> str | None:
    """A real Python 3.6, if this machine has one."""
    found = sorted(Path.home().glob(".pyenv/versions/3.6.*/bin/python3.6"))
    return str(found[0]) if found else shutil.which("python3.6")


@pytest.mark.parametrize("dialect", DIALECT_NAMES)
def test_the_file_has_the_syntax_of_python_3_6(dialect: str) -> None:
    tree = ast.parse(assemble(dialect, "A site"), feature_version=(3, 6))
    evaluated = [
        ast.unparse(note)
        for node in ast.walk(tree)
        if isinstance(node, ast.arg | ast.AnnAssign) and (note := node.annotation) is not None
        if not isinstance(note, ast.Constant | ast.Name)
    ]
    assert evaluated == []  # `list[str]`, evaluated, is an error before 3.9


def newer_than_3_6(file: Path) -> str:
    """What in a file needs a newer Python than 3.6, modules and their functions included."""
    vermin = Path(sys.executable).with_name("vermin")
    argv = [vermin, "--no-tips", "--target=3.6-", "--violations", file]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode else ""


@pytest.mark.parametrize("dialect", DIALECT_NAMES)
def test_the_file_needs_nothing_newer_than_python_3_6(dialect: str, tmp_path: Path) -> None:
    file = tmp_path / "gate"
    file.write_text(assemble(dialect, "A site"))
    assert newer_than_3_6(file) == ""
    file.write_text(file.read_text() + "\n\nsubprocess.run([], capture_output=True)\n")
    assert "subprocess.run(capture_output)" in newer_than_3_6(file)


@pytest.mark.parametrize("dialect", DIALECT_NAMES)
def test_the_file_imports_the_standard_library_alone(dialect: str) -> None:
    tree = ast.parse(assemble(dialect, "A site"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names, names


@pytest.mark.parametrize("dialect", DIALECT_NAMES)
def test_the_file_is_the_source_with_its_comments(dialect: str) -> None:
    text = assemble(dialect, "HPC Andes")
    assert text.startswith("#!/usr/bin/python3 -IS\n")
    assert "HPC Andes" in text.splitlines()[1]
    for module in ("refusal", "checking", "policy", "acting", "folder", "dialect", "journal", "verbs", "serving"):
        source = (ROOT / "spawners" / "gate" / f"{module}.py").read_text()
        assert f"# --- {module} ---" in text
        assert ast.get_docstring(ast.parse(source)).splitlines()[0] in text  # type: ignore[union-attr]
        for comment in re.findall(r"^ +# .*$", source, re.MULTILINE):
            assert comment in text
    others = {spoken.__name__ for name, spoken in DIALECTS.items() if name != dialect}
    assert not [name for name in others if re.search(rf"\bclass {name}\b", text)]


def test_the_launcher_may_travel_in_a_script() -> None:
    launcher = (ROOT / "spawners" / "launcher.py").read_text()
    assert is_script(f"#!/bin/bash\ncat > launcher.py <<'END'\n{launcher}END\n")


def test_the_same_source_gives_the_same_bytes() -> None:
    assert assemble("slurm", "A site") == assemble("slurm", "A site")


@pytest.mark.parametrize("dialect", DIALECT_NAMES)
def test_an_old_python_runs_it(dialect: str, tmp_path: Path) -> None:
    python = old_python()
    if python is None:  # in CI, too: Debian has none to install; vermin checks the syntax without one
        pytest.skip("there is no Python 3.6 here; vermin looks at the file all the same")
    tmp_path.chmod(0o755)
    (tmp_path / "gate").write_text(assemble(dialect, "A site"))
    (tmp_path / "policy.json").write_text('{"site": "a", "history": "launcher", "log": "/dev/null"}')
    (tmp_path / "accounts").write_text("nobody\n")
    attempt = "00000000-0000-0000-0000-000000000000"
    submit = {"v": 1, "id": "t", "verb": "submit", "attempt": attempt, "account": "nobody", "secret": "s" * 20,
              "script": "#!/bin/sh\n", "resources": {"cpus": 1, "memory_mib": 1, "minutes": 1}}  # fmt: skip
    for request, code in (({"v": 1, "id": "t", "verb": "x"}, "bad-verb"), (submit, "stage")):
        done = subprocess.run(
            [python, "-IS", tmp_path / "gate"], input=json.dumps(request), stdout=subprocess.PIPE, text=True, check=True
        )
        answer = json.loads(done.stdout)
        assert (answer["ok"], answer.get("error")) == (False, code), answer
