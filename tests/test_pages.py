"""Pages of documentation: links, files, names and commands on them are real."""

import ast
import importlib
import pathlib
import re
import shlex
import sys

import pytest
from support import extending

from tfx_jax.builders.validation import validate
from tfx_jax.cli.options import parse
from tfx_jax.config import base
from tfx_jax.config.experiment import read_experiment
from tfx_jax.config.override import override

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "tfx_jax"
PAGES = [
  path.relative_to(ROOT).as_posix()
  for pattern in ("*.md", "docs/*.md", "benchmarks/*.md")
  for path in sorted(ROOT.glob(pattern))
]
PROGRAMS = ("tfx ", "python -m tfx_jax.main ")


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page):
  targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / page).read_text())
  assert [target for target in targets if not (ROOT / page).parent.joinpath(target).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_exist(page):
  assert [path for path, _ in named(page) if find(path) is None] == []


@pytest.mark.parametrize("page", PAGES)
def test_names_that_a_page_gives_are_in_their_files(page):
  pairs = [(path, name) for path, name in named(page) if name]
  assert [pair for pair in pairs if pair[1] not in definitions(find(pair[0]))] == []


def test_the_page_of_the_architecture_has_every_folder():
  text = (ROOT / "docs/architecture.md").read_text()
  folders = [path.parent.relative_to(ROOT / "tfx_jax") for path in PACKAGE.rglob("__init__.py")]
  assert [str(folder) for folder in folders[1:] if f"`{folder}/`" not in text] == []


def commands():
  """(page, words after the program's name) of every command in a block of code."""
  for page in PAGES:
    blocks = re.findall(r"^```\w*\n(.*?)^```$", (ROOT / page).read_text(), re.M | re.S)
    lines = "".join(blocks).replace("\\\n", " ").replace("$i", "0").splitlines()
    for line in lines:
      starts = [line.index(name) + len(name) for name in PROGRAMS if name in line]
      if starts:
        command = re.split(r" [<>&|]|;", line[min(starts) :])[0]
        yield page, [word for word in shlex.split(command, comments=True) if word != "…"]


COMMANDS = [*commands()]


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=[" ".join(c[1])[:60] for c in COMMANDS])
def test_a_command_on_a_page_is_one_that_the_program_takes(page, words, monkeypatch):
  monkeypatch.chdir(ROOT)
  monkeypatch.setitem(sys.modules, "mycode", extending.module(0))
  options = parse(words)
  config = read_experiment(options.config) if options.config else base()
  for key, text in options.overrides:
    override(config, key, text)
  if options.config and config.data.train:
    validate(config)


def test_commands_on_pages_are_found():
  assert len(COMMANDS) > 25 and {"README.md", "docs/scale.md"} <= {page for page, _ in COMMANDS}


@pytest.mark.parametrize("page", PAGES)
def test_what_examples_in_python_import_is_there(page):
  modules = {}
  for block in re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.M | re.S):
    for node in ast.walk(ast.parse(block)):
      if isinstance(node, ast.ImportFrom) and node.module.startswith("tfx_jax"):
        module = importlib.import_module(node.module)
        modules |= {alias.name: getattr(module, alias.name) for alias in node.names}
      elif isinstance(node, ast.Import) and node.names[0].name == "tfx_jax":
        modules["tfx_jax"] = importlib.import_module("tfx_jax")
    for node in ast.walk(ast.parse(block)):
      if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        assert node.value.id not in modules or hasattr(modules[node.value.id], node.attr), node.attr


def named(page):
  """(path, name or "") of every `path/file.py` and `path/file.py: name` of a page."""
  text = (ROOT / page).read_text()
  return re.findall(r"`((?:\w+/)+\w+\.py)(?::\s+(\w+))?`", text)


def find(path):
  """The file that a page means, seen from the root or from the package; None if there is none."""
  places = [folder / path for folder in (ROOT, PACKAGE) if (folder / path).exists()]
  return places[0] if places else None


def definitions(path):
  """Names of the functions, classes and variables of a file's top level."""
  nodes = ast.parse(path.read_text()).body
  assigned = [node for node in nodes if isinstance(node, ast.Assign | ast.AnnAssign)]
  variables = {x.id for node in assigned for x in ast.walk(node) if isinstance(x, ast.Name)}
  return {getattr(node, "name", None) for node in nodes} | variables
