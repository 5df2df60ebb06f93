"""Do the tests bite? A sample of small defects, one at a time in a copy of src/: the tests named beside a file must fail on each.

    python scripts/mutation_test.py [--files walk stats] [--count 40] [--seed 3]

Mutants are made from the syntax tree: a comparison, an operation, a number, `and` for `or`, a `not` or a `detach` less, a statement left
out, branches swapped. The working tree is never changed. A survivor is printed with its line: either a test is missing, or the two say the
same and nothing is. Exit 1 where the tests fail without any mutant.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WALK = ("oracles", "interface", "twins", "hybrid", "mono_forward", "deeperforward")
ROOMS = {
    "spec.py": ["test_spec.py", "runs/test_store_of_0_1_0.py"],
    "sampling.py": ["test_sampling.py", "experiments/test_sampled.py"],
    "stats.py": ["test_stats.py", "test_sampling.py"],
    "rules/core/walk.py": [*(f"rules/test_rules_{part}.py" for part in WALK), "runs/test_checkpointing.py", "rules/test_every_rule.py"],
    "training/train.py": ["training", "rules/test_rules_oracles.py"],
    "claims/judge.py": ["claims"],
    "experiments/driver.py": [
        "experiments/test_engine.py", "experiments/test_studying.py", "experiments/test_api.py",
    ],
    "experiments/studies/axis.py": ["experiments/test_studies.py"],
    "experiments/studies/views.py": ["experiments/test_studies.py"],
    "experiments/studies/choice.py": ["experiments/test_best.py"],
    "experiments/studies/trials.py": ["experiments/test_best.py"],
    "experiments/studies/paced.py": ["experiments/test_equal_time.py"],
}  # fmt: skip
"""File below src/layerlocal → its tests below tests/."""
OTHER = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div, ast.Mod: ast.Mult, ast.Pow: ast.Mult,
}  # fmt: skip


def changed(node: ast.AST, **fields: object) -> ast.AST:
    """A copy with other fields."""
    return type(node)(**{**dict(ast.iter_fields(node)), **fields})


def replacements(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in the place of a node."""
    match node:
        case ast.Compare(ops=[op, *rest]) if type(op) in OTHER:
            yield changed(node, ops=[OTHER[type(op)](), *rest])
        case ast.BinOp(op=op) | ast.BoolOp(op=op) | ast.AugAssign(op=op) if type(op) in OTHER:
            yield changed(node, op=OTHER[type(op)]())
            if isinstance(node, ast.AugAssign):
                yield ast.Pass()
        case ast.Constant(value=bool() as value):
            yield changed(node, value=not value)
        case ast.Constant(value=int() | float() as value):
            yield from (changed(node, value=value + step) for step in (1, -1))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.Call(func=ast.Attribute(attr="detach", value=value)):
            yield value
        case ast.IfExp(body=body, orelse=orelse):
            yield changed(node, body=orelse, orelse=body)
        case ast.If(test=test):
            yield changed(node, test=ast.UnaryOp(ast.Not(), test))
        case ast.Raise() | ast.Continue() | ast.Expr(value=ast.Call()):
            yield ast.Pass()


class Mutator:
    """Counts all mutants of a tree, or makes the one of number ``wanted``. Annotations and what is said in words stay as they are."""

    def __init__(self, wanted: int = -1) -> None:
        self.wanted, self.count, self.line = wanted, 0, 0

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.keyword) and node.arg == "strict"):
            return node
        for replacement in replacements(node):
            self.count += 1
            if self.count == self.wanted + 1:
                self.line = node.lineno
                return ast.copy_location(replacement, node)
        for name, value in ast.iter_fields(node):
            if isinstance(value, list):
                value[:] = [self.visit(each) if isinstance(each, ast.AST) else each for each in value]
            elif isinstance(value, ast.AST) and name not in ("annotation", "returns"):
                setattr(node, name, self.visit(value))
        return node


def mutate(file: str, number: int) -> tuple[str, str]:
    """The text of a file with one mutant, and its line and difference in words."""
    text = (ROOT / "src/layerlocal" / file).read_text()
    mutator, tree = Mutator(number), ast.parse(text)
    after = ast.unparse(ast.fix_missing_locations(mutator.visit(tree)))
    lines = [*difflib.unified_diff(ast.unparse(ast.parse(text)).splitlines(), after.splitlines(), n=0, lineterm="")]
    return after, "\n".join([f"{file}:{mutator.line}", *(line for line in lines[2:] if line[0] != "@")])


def run_tests(file: str, text: str | None) -> int:
    """Exit status of pytest on a file's tests, with ``text`` in its place in a copy of src/; 1 too where it takes half an hour."""
    with tempfile.TemporaryDirectory() as folder:
        source = shutil.copytree(ROOT / "src", Path(folder) / "src", ignore=shutil.ignore_patterns("__pycache__"))
        if text is not None:
            (source / "layerlocal" / file).write_text(text)
        tests = [str(ROOT / "tests" / name) for name in ROOMS[file]]
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb=no", *tests]
        env = os.environ | {"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        try:
            return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, timeout=1800).returncode
        except subprocess.TimeoutExpired:
            return 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", nargs="+", default=[""], help="words of paths")
    parser.add_argument("--count", type=int, default=24, help="mutants")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000), help="of the sample")
    asked = parser.parse_args()
    every = []
    for file in ROOMS:
        if any(word in file for word in asked.files):
            (mutator := Mutator()).visit(ast.parse((ROOT / "src/layerlocal" / file).read_text()))
            every += [(file, number) for number in range(mutator.count)]
    chosen = sorted(random.Random(asked.seed).sample(every, min(asked.count, len(every))))
    print(f"{len(chosen)} of {len(every)} mutants, seed {asked.seed}", flush=True)
    for file in dict(chosen):
        if run_tests(file, None) != 0:
            print(f"the tests of {file} fail without any mutant; mend that first")
            return 1

    def judge(mutant: tuple[str, int]) -> bool:
        text, said = mutate(*mutant)
        caught = run_tests(mutant[0], text) != 0
        print(f"{'caught' if caught else 'SURVIVED'} {said if not caught else said.splitlines()[0]}", flush=True)
        return caught

    with ThreadPoolExecutor(2) as pool:
        caught = sum(pool.map(judge, chosen))
    print(f"{caught} of {len(chosen)} mutants caught")
    return 0


if __name__ == "__main__":
    sys.exit(main())
