"""Makes one file of the gate's modules and one dialect.

The file is what a site's administrator reads before installing it: the modules in the order in which they build on each
other, each under its own heading, with all its comments. Nothing is rewritten: only imports are gathered at the top.
"""

import ast
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from spawners.gate.dialect import Dialect
from spawners.gate.gridengine import GridEngine
from spawners.gate.pbs import Pbs
from spawners.gate.slurm import Slurm
from spawners.gate.verbs import VERSION

__all__ = ["DIALECTS", "assemble", "version"]

_SOURCE = Path(__file__).parent / "gate"
_PACKAGE = "spawners.gate"
_BEFORE = ("refusal", "checking", "policy", "acting", "folder", "dialect")
_AFTER = ("journal", "verbs", "serving")
_WIDTH = 116

DIALECTS: Mapping[str, type[Dialect]] = {dialect.name: dialect for dialect in (Slurm, Pbs, GridEngine)}
"""What federation.yaml calls `dialect`, and the class that speaks it."""

_HEAD = '''\
#!/usr/bin/python3 -IS
"""nbfed gate for {site}, dialect {dialect}: what the notebooks federation may do at this site.

{about}

It is started for each request, reads one line of JSON and answers with one line. Its folder holds the site's policy:
policy.json, accounts, and, where there are any, blocked and drained. Folder and files must belong to root. The Python
on the first line may be any from 3.6 on.
"""

{imports}

TYPE_CHECKING = False
'''


def assemble(dialect: str, site: str) -> str:
    """The gate for one dialect, as a Python program. `site` is the site's name in federation.yaml, for its head.

    Raises
    ------
    KeyError
        There is no such dialect.
    """
    spoken = DIALECTS[dialect]
    chosen = spoken.__module__.rpartition(".")[2]
    sources = {name: (_SOURCE / f"{name}.py").read_text(encoding="utf-8") for name in (*_BEFORE, chosen, *_AFTER)}
    trees = {name: ast.parse(source) for name, source in sources.items()}
    imports = sorted({ast.unparse(each) for tree in trees.values() for each in _outside(tree)}, key=_import_order)
    package = ast.get_docstring(ast.parse((_SOURCE / "__init__.py").read_text(encoding="utf-8"))) or ""
    about = package.partition("What it promises to a site:")[2].strip()
    head = _HEAD.format(site=site, dialect=dialect, about=f"What it promises:\n\n{about}", imports="\n".join(imports))
    parts = [_part(name, sources[name], trees[name]) for name in sources]
    return head + "".join(parts) + f'\n\nif __name__ == "__main__":\n    sys.exit(serve({spoken.__name__}))\n'


def version(program: str) -> str:
    """The `gate_version` that this program answers, whatever its first line names as its Python."""
    rest = program.partition("\n")[2]
    return f"{VERSION}-{hashlib.sha256(rest.encode()).hexdigest()[:12]}"


def _outside(tree: ast.Module) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports of the standard library."""
    for node in tree.body:
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and not _is_ours(node)):
            yield node


def _is_ours(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and (node.module or "").startswith(_PACKAGE)


def _import_order(line: str) -> tuple[bool, str]:
    return line.startswith("from"), line


def _part(name: str, source: str, tree: ast.Module) -> str:
    """One module without its imports, under a heading that says what its docstring says."""
    lines = source.splitlines()
    gone: set[int] = set()
    for node in tree.body:
        if _is_left_out(node):
            gone.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    body = "\n".join(line for number, line in enumerate(lines, 1) if number not in gone)
    about = "\n".join(f"# {line}".rstrip() for line in (ast.get_docstring(tree) or "").splitlines())
    rule = "# " + f"--- {name} ".ljust(_WIDTH, "-")
    return f"\n\n{rule}\n#\n{about}\n\n" + body.replace("acting.", "").strip() + "\n"


def _is_left_out(node: ast.stmt) -> bool:
    """Imports, the module's docstring, and what only type checkers look at."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return True
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and node.lineno == 1
    target = "TYPE_CHECKING"
    return (isinstance(node, ast.If) and ast.unparse(node.test) == target) or (
        isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == target
    )
