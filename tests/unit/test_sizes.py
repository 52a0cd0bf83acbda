"""No function above 60 lines, no module above 350: what is longer has more than one purpose."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path for folder in ("ikd_fairseq", "examples") for path in (ROOT / folder).rglob("*.py"))
SNAKEFILE = ROOT / "examples" / "multi30k" / "Snakefile"


def test_no_module_is_above_350_lines():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in MODULES}
    lengths["Snakefile"] = len(SNAKEFILE.read_text("utf-8").splitlines())
    assert len(lengths) > 100 and not {name: length for name, length in lengths.items() if length > 350}


def test_no_function_is_above_60_lines():
    """Docstring and decorators included."""
    long = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                length = node.end_lineno - first + 1
                if length > 60:
                    long[f"{path.relative_to(ROOT)}:{first} {node.name}"] = length
    assert not long
