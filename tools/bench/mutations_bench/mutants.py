"""Errors that can be planted in the operator rules, generated from the rules themselves.

Three kinds: a rule without its cut, its neutral value or its word on positions; and in each
function of a rule one statement left out that does nothing but call something, such as
``site.unify(a, b)``.
"""

from __future__ import annotations

import ast
import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

COUPLING = "prunec.passes.analysis.coupling"
RULE_MODULES = (
    "attention",
    "choosing",
    "contraction",
    "convolution",
    "elementwise",
    "images",
    "joining",
    "normalisation",
    "recurrent",
    "reduction",
    "reshaping",
    "writing",
)
HELPERS = ("gather", "site")


@dataclass(frozen=True)
class Mutant:
    """One planted error.

    Attributes:
        name: Says what it is; stays the same when lines move.
        file: The source file, as Python knows it.
        lines: First and last line of what it changes.
        text: The statement or the operators.
        rule: The rule that it changes; None where it leaves out a statement.
        plant: Puts the error in, and takes it out again afterwards.
    """

    name: str
    file: str
    lines: tuple[int, int]
    text: str
    rule: Any
    plant: Callable[[], AbstractContextManager[None]]

    @property
    def place(self) -> str:
        """File name and line, for a reader."""
        return f"{Path(self.file).name}:{self.lines[0]}"


def all_mutants() -> list[Mutant]:
    """Every mutant of every rule and of what rules call, in the order of the source."""
    modules = [import_module(f"{COUPLING}.rules.{name}") for name in RULE_MODULES]
    helpers = [import_module(f"{COUPLING}.{name}") for name in HELPERS]
    found = [mutant for module in modules for mutant in _of_rules(module)]
    return found + [m for module in (*modules, *helpers) for m in _of_statements(module)]


def _of_rules(module: ModuleType) -> Iterator[Mutant]:
    as_is = import_module(f"{COUPLING}.site").keep_as_is
    operators: dict[int, list[Any]] = {}
    for operator, rule in module.RULES.items():
        operators.setdefault(id(rule), []).append(operator)
    for same in operators.values():
        rule = module.RULES[same[0]]
        without: list[tuple[str, Any]] = [("cut", as_is)] if rule.cut is not as_is else []
        without += [("neutral", {})] if rule.neutral else []
        without += [("keeps_positions", False)] if rule.keeps_positions else []
        for what, value in without:
            line = _line_of(module, str(same[0]))
            yield Mutant(
                name=f"{_short(module)}.RULES[{same[0]}]: no {what}",
                file=str(module.__file__),
                lines=(line, line),
                text=", ".join(map(str, same[:4])) + (", …" if len(same) > 4 else ""),
                rule=rule,
                plant=partial(_replaced, rule, what, value),
            )


def _line_of(module: ModuleType, operator: str) -> int:
    lines = inspect.getsource(module).splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("RULES"))
    named = [n for n in range(start, len(lines)) if f"{operator}:" in lines[n]]
    return (named or [start])[0] + 1


@contextmanager
def _replaced(rule: Any, what: str, value: Any) -> Iterator[None]:
    before = getattr(rule, what)
    object.__setattr__(rule, what, value)
    try:
        yield
    finally:
        object.__setattr__(rule, what, before)


def _of_statements(module: ModuleType) -> Iterator[Mutant]:
    source = inspect.getsource(module)
    seen: Counter[str] = Counter()
    for place, (function, statement) in enumerate(_statements(ast.parse(source))):
        text = ast.unparse(statement)
        name = f"{_short(module)}.{function}: {text}"
        seen[name] += 1
        yield Mutant(
            name=name if seen[name] == 1 else f"{name} #{seen[name]}",
            file=str(module.__file__),
            lines=(statement.lineno, statement.end_lineno or statement.lineno),
            text=text,
            rule=None,
            plant=partial(_left_out, module, source, place),
        )


def _statements(tree: ast.Module) -> Iterator[tuple[str, ast.stmt]]:
    """With the function that they are in: statements that only call, or add to a list."""
    for outer in tree.body:
        within = outer.body if isinstance(outer, ast.ClassDef) else [outer]
        for function in (f for f in within if isinstance(f, ast.FunctionDef)):
            prefix = f"{outer.name}." if isinstance(outer, ast.ClassDef) else ""
            for node in ast.walk(function):
                calls = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
                adds = isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Attribute)
                if isinstance(node, (ast.Expr, ast.AugAssign)) and (calls or adds):
                    yield prefix + function.name, node


@contextmanager
def _left_out(module: ModuleType, source: str, place: int) -> Iterator[None]:
    tree = ast.parse(source)
    name, statement = list(_statements(tree))[place]

    class LeaveOut(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> Any:
            if node is statement:
                return ast.copy_location(ast.Pass(), node)
            return self.generic_visit(node)

    code = compile(ast.fix_missing_locations(LeaveOut().visit(tree)), str(module.__file__), "exec")
    function: Any = module
    for part in name.split("."):
        function = getattr(function, part)
    before = function.__code__
    function.__code__ = next(c for c in _codes(code) if c.co_qualname == name)
    try:
        yield
    finally:
        function.__code__ = before


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _short(module: ModuleType) -> str:
    return module.__name__.rsplit(".", 1)[-1]
