"""The API reference, a Sphinx extension: one page a folder of the package, from its docstrings."""

import importlib
import inspect
import pathlib
import re

from docutils import nodes
from sphinx.application import Sphinx

PACKAGE = pathlib.Path(__file__).parent.parent / "tfx_jax"
PAGES = pathlib.Path(__file__).parent / "api"
MODULE = "```{{eval-rst}}\n.. automodule:: {}\n```\n"


def write_pages(app: Sphinx) -> None:
  """Writes `docs/api/FOLDER.md` for every folder of the package, one section a file."""
  PAGES.mkdir(exist_ok=True)
  pages = {}
  for folder in sorted(path.parent for path in PACKAGE.rglob("__init__.py")):
    name = ".".join((PACKAGE.name, *folder.relative_to(PACKAGE).parts))
    page = [f"# {name}\n", MODULE.format(name)]
    for file in sorted(folder.glob("*.py")):
      if not file.stem.startswith("_"):
        page += [f"## {file.name}\n", MODULE.format(f"{name}.{file.stem}")]
    pages[PAGES / f"{name}.md"] = "\n".join(page)
  for path in PAGES.glob("*.md"):
    if path not in pages:
      path.unlink()
  for path, text in pages.items():
    if not path.exists() or path.read_text() != text:  # else Sphinx would read it again
      path.write_text(text)


def skip_member(
  app: Sphinx, what: str, name: str, member: object, skip: bool, options: object
) -> bool | None:
  """Shows `__call__` without a docstring; leaves fields of classes to the list of attributes."""
  if what != "class":
    return None
  if name == "__call__" and inspect.isfunction(member):
    return not member.__module__.startswith(PACKAGE.name)
  routine = inspect.isroutine(member) or isinstance(member, property)
  return None if routine or isinstance(member, classmethod | staticmethod) else True


def shorten_signature(
  app: Sphinx, what: str, name: str, member: object, options: object, signature: str, returns: str
) -> tuple[str, str] | None:
  """Leaves out the two arguments that Flax gives every module."""
  if what != "class" or not signature:
    return None
  return re.sub(r"(, )?parent: [^=]*_Sentinel.*(?=\)$)", "", signature), returns


def escape_letters(
  app: Sphinx, what: str, name: str, member: object, options: object, lines: list[str]
) -> None:
  """Keeps "features: D." from being read as a list whose only number is D."""
  lines[:] = [re.sub(r"^( *\w+: [A-Z])\.$", r"\1\\.", line) for line in lines]


def accept_variable(app: Sphinx, env: object, node: nodes.Node, text: nodes.Node) -> object:
  """Shows names of types and other variables, which have no entry, without a link."""
  module, _, name = node.get("reftarget", "").rpartition(".")
  if node.get("refdomain") != "py" or not module.startswith(PACKAGE.name):
    return None
  try:
    return text if hasattr(importlib.import_module(module), name) else None
  except ImportError:
    return None


def setup(app: Sphinx) -> dict:
  """Connects the functions above to the events of a build."""
  app.connect("builder-inited", write_pages)
  app.connect("autodoc-skip-member", skip_member)
  app.connect("autodoc-process-signature", shorten_signature)
  app.connect("autodoc-process-docstring", escape_letters, priority=400)
  app.connect("missing-reference", accept_variable)
  return {"parallel_read_safe": True, "parallel_write_safe": True}
