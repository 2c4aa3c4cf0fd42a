"""Docstrings as pairs of a description and its summary, from source code that is not run."""

import ast
import re
import warnings
from collections.abc import Iterator

MOST_CHARACTERS = 1000  # of a description; longer ones are cut
_SUMMARY_WORDS = range(3, 31)
_BODY_WORDS = 12  # at least
_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

# Markup of reStructuredText: roles (:func:`~a.b`), quoted code, underlines and rules of tables.
_ROLE = re.compile(r":[\w:+.-]+:`~?([^`<]+?)(?:\s*<[^`]*>)?`")
_QUOTE = re.compile(r"`+~?([^`]*?)`+_*")
_RULE = re.compile(r"[\W_]*|Examples?:?")  # … and the title of examples, which are removed
_DIRECTIVE = re.compile(r"\.\. ")
_PROMPT = re.compile(r"(?:>>>|\.\.\.|In \[\d+\]:|\$)(?:\s|$)")
# The signature in front of the summary of a compiled function: f(x, y=None) -> z.
_SIGNATURE = re.compile(r"[\w.]+\([^)]*\)\s*(?:->.*)?")


def docstring_pairs(source: str) -> Iterator[tuple[str, str]]:
  """Yields (description, summary) from the docstrings of a module, its classes and functions.

  The summary is the first paragraph, in one line; the description is the signature and all that
  follows the summary, without examples, tables and markup of reStructuredText. If either is too
  short, there is no pair.

  Args:
    source: the code of a module.

  Raises:
    SyntaxError: if it is not code of this version of Python. Also ValueError, RecursionError.
  """
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about escapes and the like, in the code of others
    tree = ast.parse(source)
  for node in _documented(tree):
    if text := ast.get_docstring(node):
      summary, body = split_docstring(text)
      if len(summary.split()) in _SUMMARY_WORDS and len(body.split()) >= _BODY_WORDS:
        yield f"{_signature(node)}\n{body}".strip()[:MOST_CHARACTERS], summary


def split_docstring(text: str) -> tuple[str, str]:
  """Returns the summary of a docstring and the text behind it, both without markup."""
  first, _, rest = text.strip().partition("\n\n")
  if _SIGNATURE.fullmatch(first.strip()):
    first, _, rest = rest.strip().partition("\n\n")
  heading = any(map(_RULE.fullmatch, first.split("\n")))  # an underlined title is no summary
  summary = " ".join(_plain(first).split())
  return ("" if heading or not summary[:1].isalpha() else summary), "\n".join(_lines(rest))


def _documented(node: _Documented) -> Iterator[_Documented]:
  """Yields the node and all definitions inside it; much faster than `ast.walk`."""
  yield node
  for child in node.body:
    if isinstance(child, _Documented):
      yield from _documented(child)


def _lines(text: str) -> Iterator[str]:
  """Yields the lines of a description without examples, tables, directives and underlines."""
  example = fenced = False
  directive = None  # indentation of the directive whose lines are being skipped
  for line in text.split("\n"):
    bare = line.strip()
    indent = len(line) - len(line.lstrip())
    if directive is not None and bare and indent <= directive:
      directive = None
    if _DIRECTIVE.match(bare):
      directive = indent
    fence = bare.startswith("```")
    fenced ^= fence
    # For doctest an example includes its output: up to the next empty line.
    example = bool(bare) and (example or bool(_PROMPT.match(bare)))
    if directive is None and not (fenced or fence or example or _RULE.fullmatch(bare)):
      yield re.sub("::$", ":", _plain(line).rstrip())


def _plain(text: str) -> str:
  return _QUOTE.sub(r"\1", _ROLE.sub(r"\1", text))


def _signature(node: _Documented) -> str:
  """Returns the definition in a line of code, arguments without types and defaults."""
  if isinstance(node, ast.Module):
    return ""
  if isinstance(node, ast.ClassDef):
    return f"class {node.name}"
  arguments = node.args
  names = [arg.arg for arg in (*arguments.posonlyargs, *arguments.args)]
  if arguments.vararg:
    names.append(f"*{arguments.vararg.arg}")
  elif arguments.kwonlyargs:
    names.append("*")
  names += [arg.arg for arg in arguments.kwonlyargs]
  if arguments.kwarg:
    names.append(f"**{arguments.kwarg.arg}")
  return f"def {node.name}({', '.join(names)})"
