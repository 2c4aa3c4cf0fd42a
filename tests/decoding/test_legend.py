"""The letters of shapes in the package are those of its legend."""

import ast
import io
import pathlib
import re
import tokenize

from tfx_jax import decoding

FILES = sorted(pathlib.Path(decoding.__file__).parent.glob("*.py"))
LEGEND = set(re.findall(r"(?:^|  )([A-Z])  \w", decoding.__doc__, re.MULTILINE))


def prose(source):
  """All docstrings and comments of a file."""
  tokens = tokenize.generate_tokens(io.StringIO(source).readline)
  yield from (token.string for token in tokens if token.type == tokenize.COMMENT)
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
      yield ast.get_docstring(node) or ""


def test_every_letter_of_a_shape_is_in_the_legend():
  used = {}
  for path in FILES:
    for text in prose(path.read_text()):
      for shape in re.findall(r"\[([A-Z0-9][A-Z0-9,*/+.-]*)\]", text):
        used |= {name: f"{path.name}: [{shape}]" for name in re.findall(r"[A-Z]+", shape)}
  # The size of a block in `top_k.py` is a constant, not a letter.
  assert {name: where for name, where in used.items() if name not in LEGEND | {"BLOCK"}} == {}
  assert len(LEGEND) > 10 and set("BWVTRC") <= used.keys()
