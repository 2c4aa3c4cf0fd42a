"""Docstrings begin with verbs or noun phrases; files and modules that texts name exist."""

import ast
import io
import pathlib
import re
import tokenize

import pytest

ROOT = pathlib.Path(__file__).parent.parent
FOLDERS = ("tfx_jax", "benchmarks", "experiments")
SOURCES = [
  path.relative_to(ROOT).as_posix()
  for folder in FOLDERS
  for path in sorted((ROOT / folder).rglob("*.py"))
]
# Sources with programs in strings, and pages; test_imports.py has wrong programs on purpose.
TEXTS = [
  path.relative_to(ROOT).as_posix()
  for pattern in ("*.md", "docs/*.md", "launch/*", "benchmarks/*.md", "tests/**/*.py")
  for path in sorted(ROOT.glob(pattern))
  if path.name not in ("test_imports.py", "test_docstrings.py")
]
# Beginnings of noun clauses: they describe a thing without naming it.
CLAUSES = re.compile(r"(What|Of|Where|That|Which|Whether|How)\b")
# The same in a list of arguments, attributes or keys.
DESCRIPTION = re.compile(r"^ *\*{0,2}\w+: (of|that|what|which|where) ", re.MULTILINE)
FILE = re.compile(r"(?<![\w./-])(?:[a-z_][\w-]*/)*[a-z_]\w*\.(?:py|md)\b")


def public_docstrings(text):
  """(line, docstring) of the module and of its public classes, functions and methods."""

  def visit(node, line):
    if docstring := ast.get_docstring(node):
      yield line, docstring
    for child in ast.iter_child_nodes(node):
      definition = isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
      if definition and not child.name.startswith("_"):
        yield from visit(child, child.lineno)

  yield from visit(ast.parse(text), 1)


def clauses(text):
  """Lines of public docstrings with a noun clause for a summary or for an argument."""
  return [
    line
    for line, docstring in public_docstrings(text)
    if CLAUSES.match(docstring) or DESCRIPTION.search(docstring)
  ]


def prose(text):
  """Docstrings and comments, public or not."""
  for node in ast.walk(ast.parse(text)):
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
      yield ast.get_docstring(node) or ""
  for token in tokenize.generate_tokens(io.StringIO(text).readline):
    if token.type == tokenize.COMMENT:
      yield token.string


def missing_files(path, text):
  """Files named in a source's docstrings and comments that do not exist.

  A path is relative to the root, to the package, or to the folder of the source.
  """
  folders = (ROOT, ROOT / "tfx_jax", (ROOT / path).parent)
  names = {name for piece in prose(text) for name in FILE.findall(piece)}
  return sorted(name for name in names if not any((folder / name).exists() for folder in folders))


def test_docstrings_begin_with_a_verb_or_a_noun_phrase():
  found = {path: clauses((ROOT / path).read_text()) for path in SOURCES}
  assert {path: lines for path, lines in found.items() if lines} == {}


def test_files_that_a_source_names_exist():
  found = {path: missing_files(path, (ROOT / path).read_text()) for path in SOURCES}
  assert {path: names for path, names in found.items() if names} == {}


def missing_modules(text):
  """Modules and names of the package that a text imports or mentions, and that do not exist."""
  imports = re.findall(r"from (tfx_jax[\w.]*) import (\w+)", text)
  mentions = re.findall(r"\btfx_jax(?:\.(?!__|tar\b)\w+)+", text)
  names = {f"{module}.{name}" for module, name in imports} | set(mentions)
  return sorted(name for name in names if not defined(name))


def defined(name):
  """Returns true for 'tfx_jax.a.b' if a/b exists, or the word b occurs in the file of a."""
  path, parts = ROOT, name.split(".")
  while parts and (path / parts[0]).is_dir():
    path /= parts.pop(0)
  file = path / f"{parts[0]}.py" if parts else None
  if file is None or file.exists():
    rest = parts[1:]
  else:
    file, rest = path / "__init__.py", parts
  return not rest or re.search(rf"\b{rest[0]}\b", file.read_text()) is not None


def test_modules_that_a_text_names_exist():
  """Programs in strings and on pages import modules too, unseen by a linter."""
  texts = {path: (ROOT / path).read_text() for path in TEXTS}
  found = {path: missing_modules(text) for path, text in texts.items()}
  assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
  "text",
  [
    '"""What a run reads."""',
    'def f():\n  """Of each layer."""',
    'class A:\n  """A class."""\n\n  @property\n  def b(self):\n    """Whether it is."""',
    'class A:\n  """A class.\n\n  Args:\n    dtype: of the output.\n  """',
    'class A:\n  """A class."""\n\n  async def b(self):\n    """How it\n    is."""',
  ],
)
def test_a_noun_clause_is_found(text):
  assert len(clauses(text)) == 1


@pytest.mark.parametrize(
  "text",
  ['"""Offsets."""', 'def f():\n  """Returns what is left."""', 'def _f():\n  """Of a row."""'],
)
def test_another_beginning_is_allowed(text):
  assert clauses(text) == []


@pytest.mark.parametrize(
  ("text", "missing"),
  [
    ('"""See `build.py`."""', ["build.py"]),
    ("x = 1  # see tfx_jax/layers/no_such.py", ["tfx_jax/layers/no_such.py"]),
    ('def _f():\n  """As docs/none.md says: docs/decoding.md."""', ["docs/none.md"]),
    ("# layers/block.py, tfx_jax/cost.py and linear.py", []),
    ('x = "not/prose.py"', []),
  ],
)
def test_a_missing_file_is_found(text, missing):
  assert missing_files("tfx_jax/layers/head.py", text) == missing


@pytest.mark.parametrize(
  ("text", "missing"),
  [
    ("from tfx_jax import heartbeat", ["tfx_jax.heartbeat"]),
    ("python -m tfx_jax.no_such", ["tfx_jax.no_such"]),
    ("from tfx_jax.cost import cost, flops; tfx_jax.main; tfx_jax.load(folder)", []),
    ("tfx_jax.layers.axes.no_such", ["tfx_jax.layers.axes.no_such"]),
  ],
)
def test_a_missing_module_is_found(text, missing):
  assert missing_modules(text) == missing
