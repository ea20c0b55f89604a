"""What must not stand anywhere in the source: pickles, evaluation of text, unsafe YAML, remote code, shells."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src"
FILES = sorted(SOURCE.rglob("*.py"))

MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "code",
    "codeop",
    "pty",
}
NAMES = {"eval", "exec", "compile", "__import__", "execfile"}
CALLS = {
    *("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "yaml.UnsafeLoader", "yaml.FullLoader"),
    *("torch.load", "torch.save", "torch.hub.load", "torch.jit.load", "torch.package"),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "numpy.load", "np.load"),
    *("pandas.read_pickle", "pd.read_pickle", "builtins.eval", "builtins.exec", "tempfile.mktemp"),
}
KEYWORDS = {"trust_remote_code", "allow_pickle", "shell"}


def forbidden(tree: ast.AST) -> Iterator[str]:
    """Each use of what is forbidden, with its line."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Import):
            found = {alias.name.split(".")[0] for alias in node.names} & MODULES
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            found = ({module.split(".")[0]} & MODULES) | ({f"{module}.{alias.name}" for alias in node.names} & CALLS)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found = {node.func.id} & NAMES
        elif isinstance(node, ast.Attribute):
            found = {ast.unparse(node)} & CALLS
        elif isinstance(node, ast.keyword):
            unset = isinstance(node.value, ast.Constant) and node.value.value is False
            found = set() if unset else {node.arg} & KEYWORDS
            line = node.value.lineno
        else:
            continue
        yield from (f"line {line}: {name}" for name in found)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_no_source_file_uses_what_is_forbidden(path: Path) -> None:
    assert list(forbidden(ast.parse(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    "text",
    [
        *(
            "import pickle",
            "from pickle import loads",
            "import shelve",
            "eval('1')",
            "exec('x')",
            "compile('', '', 'exec')",
        ),
        *("__import__('os')", "yaml.load(text)", "yaml.unsafe_load(text)", "yaml.load(text, Loader=yaml.FullLoader)"),
        *("torch.load(path)", "from torch import load", "np.load(path, allow_pickle=True)", "os.system('ls')"),
        *("subprocess.run('ls', shell=True)", "AutoModel.from_pretrained(path, trust_remote_code=True)"),
        *("AutoModel.from_pretrained(path, trust_remote_code=flag)",),
    ],
)
def test_the_lint_sees(text: str) -> None:
    assert list(forbidden(ast.parse(text)))


def test_the_lint_looks_at_the_package() -> None:
    assert len(FILES) > 60
