"""Docstrings as pairs of a description and its summary, read from sources without running them."""

import ast
import re
import warnings
from collections.abc import Iterator

MOST_CHARACTERS = 1000  # of a description; the rest is cut
_SUMMARY_WORDS = range(3, 31)
_BODY_WORDS = 12  # at least
_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

# Of reStructuredText: roles (:func:`~a.b`), quotes of code, underlines and rules of tables.
_ROLE = re.compile(r":[\w:+.-]+:`~?([^`<]+?)(?:\s*<[^`]*>)?`")
_QUOTE = re.compile(r"`+~?([^`]*?)`+_*")
_RULE = re.compile(r"[\W_]*|Examples?:?")  # … and the title of what is left out
_DIRECTIVE = re.compile(r"\.\. ")
_PROMPT = re.compile(r"(?:>>>|\.\.\.|In \[\d+\]:|\$)(?:\s|$)")
# What a compiled function puts before its summary: f(x, y=None) -> z.
_SIGNATURE = re.compile(r"[\w.]+\([^)]*\)\s*(?:->.*)?")


def docstring_pairs(source: str) -> Iterator[tuple[str, str]]:
  """Yields (description, summary) of what a module, its classes and functions say of themselves.

  The summary is the docstring's first paragraph in one line; the description the signature and all
  after the summary but examples, tables and marks of reStructuredText. Where there is too little of
  either, there is no pair.

  Args:
    source: of a module.

  Raises:
    SyntaxError: if it is not of this version of Python. Also ValueError, RecursionError.
  """
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of escapes and the like: they are not ours to mend
    tree = ast.parse(source)
  for node in _documented(tree):
    if text := ast.get_docstring(node):
      summary, body = split_docstring(text)
      if len(summary.split()) in _SUMMARY_WORDS and len(body.split()) >= _BODY_WORDS:
        yield f"{_signature(node)}\n{body}".strip()[:MOST_CHARACTERS], summary


def split_docstring(text: str) -> tuple[str, str]:
  """The summary of a docstring and what follows it, both cleaned."""
  first, _, rest = text.strip().partition("\n\n")
  if _SIGNATURE.fullmatch(first.strip()):
    first, _, rest = rest.strip().partition("\n\n")
  heading = any(map(_RULE.fullmatch, first.split("\n")))  # an underlined one: no summary
  summary = " ".join(_plain(first).split())
  return ("" if heading or not summary[:1].isalpha() else summary), "\n".join(_lines(rest))


def _documented(node: _Documented) -> Iterator[_Documented]:
  """The node and what is defined directly inside, and so on; much quicker than `ast.walk`."""
  yield node
  for child in node.body:
    if isinstance(child, _Documented):
      yield from _documented(child)


def _lines(text: str) -> Iterator[str]:
  """The lines of a description without examples, tables, directives and underlines."""
  example = fenced = False
  directive = None  # how far the one is indented whose lines are being left out
  for line in text.split("\n"):
    bare = line.strip()
    indent = len(line) - len(line.lstrip())
    if directive is not None and bare and indent <= directive:
      directive = None
    if _DIRECTIVE.match(bare):
      directive = indent
    fence = bare.startswith("```")
    fenced ^= fence
    # An example goes on, as doctest reads it, with what is printed: to the next empty line.
    example = bool(bare) and (example or bool(_PROMPT.match(bare)))
    if directive is None and not (fenced or fence or example or _RULE.fullmatch(bare)):
      yield re.sub("::$", ":", _plain(line).rstrip())


def _plain(text: str) -> str:
  return _QUOTE.sub(r"\1", _ROLE.sub(r"\1", text))


def _signature(node: _Documented) -> str:
  """What is documented, in a line of code: names of arguments without their types and defaults."""
  if isinstance(node, ast.Module):
    return ""
  if isinstance(node, ast.ClassDef):
    return f"class {node.name}"
  taken = node.args
  names = [arg.arg for arg in (*taken.posonlyargs, *taken.args)]
  names += [f"*{taken.vararg.arg}"] if taken.vararg else ["*"] if taken.kwonlyargs else []
  names += [arg.arg for arg in taken.kwonlyargs]
  names += [f"**{taken.kwarg.arg}"] if taken.kwarg else []
  return f"def {node.name}({', '.join(names)})"
