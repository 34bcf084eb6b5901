"""Formulas over the scores of graders: ``0.7 * accuracy + 0.3 * min(style, 1)``. Arithmetic only, no code."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping

FUNCTIONS: Mapping[str, Callable[..., float]] = {
    "min": min,
    "max": max,
    "abs": abs,
    "floor": math.floor,
    "ceil": math.ceil,
    "exp": math.exp,
    "sqrt": math.sqrt,
    "log": math.log,
}
MAX_CHARACTERS = 2_000
MAX_POWER = 64.0
"""Largest exponent: beyond it a short formula could take for ever."""

_OPERATIONS: Mapping[type, Callable[[float, float], float]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
}


class FormulaError(ValueError):
    """A formula that cannot be read, or has no value for these scores."""


def names(formula: str) -> set[str]:
    """The graders that a formula uses.

    Raises:
        FormulaError: it is not a formula.
    """
    tree = _parse(formula)
    found = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - FUNCTIONS.keys()
    _value(tree.body, dict.fromkeys(found, 1.0), probing=True)
    return found


def evaluate(formula: str, scores: Mapping[str, float]) -> float:
    """The value of a formula.

    Raises:
        FormulaError: an unknown name, a division by zero, a result that is not a finite number.
    """
    result = _value(_parse(formula).body, scores)
    if not math.isfinite(result):
        raise FormulaError("the result is not a finite number")
    return result


def _parse(formula: str) -> ast.Expression:
    if len(formula) > MAX_CHARACTERS:
        raise FormulaError(f"a formula has at most {MAX_CHARACTERS:,} characters")
    try:
        return ast.parse(formula.replace("^", "**").strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise FormulaError(f"{formula!r} is not a formula") from error


def _value(node: ast.expr, scores: Mapping[str, float], probing: bool = False) -> float:
    """Value of a part; ``probing`` checks the shape alone, whatever the numbers would be."""
    try:
        return _part(node, scores, probing)
    except (ArithmeticError, ValueError, TypeError, RecursionError) as error:
        if isinstance(error, FormulaError):
            raise
        if probing:
            return 1.0
        raise FormulaError(f"{ast.unparse(node)} has no value: {error}") from error


def _part(node: ast.expr, scores: Mapping[str, float], probing: bool) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return float(node.value)
    if isinstance(node, ast.Name) and node.id in scores:
        return scores[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        inner = _value(node.operand, scores, probing)
        return -inner if isinstance(node.op, ast.USub) else inner
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left, scores, probing), _value(node.right, scores, probing)
        if isinstance(node.op, ast.Pow):
            if abs(right) > MAX_POWER and not probing:
                raise FormulaError(f"an exponent is at most {MAX_POWER:g}")
            return 1.0 if probing else math.pow(left, right)
        if type(node.op) in _OPERATIONS:
            return _OPERATIONS[type(node.op)](left, right)
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in FUNCTIONS
        and not node.keywords
        and not any(isinstance(argument, ast.Starred) for argument in node.args)
    ):
        return float(FUNCTIONS[node.func.id](*(_value(argument, scores, probing) for argument in node.args)))
    raise FormulaError(
        f"{ast.unparse(node)!r} is neither a number, a grader, an operation (+ - * / ^) nor a function "
        f"({', '.join(FUNCTIONS)})"
    )
