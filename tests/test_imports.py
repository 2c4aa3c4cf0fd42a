"""Who may import whom, read from the sources without running them."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent

# A file or folder of tfx_jax (or one module of a folder) and what it may import of tfx_jax besides
# its own folder and what stands in `FREE`, which all may.
FREE = ("errors", "heartbeat", "names", "ranges", "whole_file")
LEAVES = (
  "layers",
  "decoding",
  "losses",
  "losses_frames",
  "metrics",
  "data",
  "report",
  "heat_map",
  "parallel",
  "processes",
  "workdir_lock",
  "compilation_cache",
  "allocator",
  "cost",
  "options",
  "standard_streams",
)
LEARNING = (
  *("allocator", "parallel", "processes", "losses", "metrics", "decoding"),
  *("report", "curves", "data"),
)
BELOW_BUILD = (*LEAVES, "config", "models", "tasks", "training", "evaluation", "pretrained")
COMMANDS_ALSO = ("cost", "supervisor", "tasks", "sweep", "standard_streams", "workdir_lock")
TOP = ("build", "validation", "config_io", "training", "evaluation", "pretrained")
MAY_IMPORT = {
  "experiments": ("config",),
  "__init__": ("loading", "run"),
  "main": (
    *TOP,
    *("allocator", "commands", "compilation_cache", "loading", "options", "processes"),
    *("standard_streams", "supervisor", "sweep", "text_files"),
  ),
  "commands": (*TOP, "loading", "run", *LEARNING, *COMMANDS_ALSO),
  "run": (*TOP, "config", "data", "heat_map", "quantization"),
  "loading": (*TOP, "config", "quantization", "run"),
  "quantization": ("training",),
  "validation": ("build", "quantization", *BELOW_BUILD),
  "build": BELOW_BUILD,
  "config_io": ("config",),
  "sweep": ("config_io",),
  "config": (),
  "errors": (),
  "ranges": (),
  "heartbeat": (),
  "text_files": ("data.file", "standard_streams"),
  "curves": ("report",),
  "whole_file": (),
  "names": (),
  "supervisor": (),
  "training": LEARNING,
  "evaluation": (*LEARNING, "layers.cache", "layers.cpu_layout", "quantization"),
  "pretrained": ("data.tokenizer", "data.marks", "data.foreign_tokenizer", "data.tokenizer_files"),
  "tasks": ("data", "metrics"),
  "models": ("layers",),
} | dict.fromkeys(LEAVES, ())
MAY_IMPORT["losses"] = ("layers.gradients",)
FOREIGN = ("tensorflow", "torch")  # not at import
NOT_IN_DATA = ("jax", "flax", "optax", "orbax", "clu")


def sources():
  """(importer, path) of every file that the table speaks of."""
  for path in sorted(ROOT.glob("tfx_jax/**/*.py")):
    yield path.relative_to(ROOT / "tfx_jax").with_suffix("").parts[0], path
  for path in sorted(ROOT.glob("experiments/**/*.py")):
    yield "experiments", path


def imported(tree):
  """Modules that the statements of a tree may import, in full; relative ones begin with a dot."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      module = "." * node.level + (node.module or "")
      yield from (f"{module}.{alias.name}" for alias in node.names)


def without_functions(tree):
  """The tree without what runs only when called."""

  class Remover(ast.NodeTransformer):
    def visit_FunctionDef(self, node):
      return ast.Pass()

  return Remover().visit(tree)


def forbidden(importer, text):
  """What a source text of `importer` imports though it must not."""
  ours, foreign = [], []
  for name in imported(ast.parse(text)):
    if name.startswith("."):
      ours.append(name)
    elif name.split(".")[0] in ("tfx_jax", "experiments"):
      path = name.removeprefix("tfx_jax").removeprefix(".")
      allowed = (*FREE, importer, *MAY_IMPORT.get(importer, ()))
      if not any(f"{path}.".startswith(f"{module}.") for module in allowed):
        ours.append(name)
    elif importer == "data" and name.split(".")[0] in NOT_IN_DATA:
      foreign.append(name)
  at_import = imported(without_functions(ast.parse(text)))
  foreign += [name for name in at_import if name.split(".")[0] in FOREIGN]
  return ours + foreign


def test_every_file_has_its_place():
  assert {importer for importer, _ in sources()} - MAY_IMPORT.keys() == set()


def test_imports_follow_the_arrows():
  found = {
    str(path.relative_to(ROOT)): wrong
    for importer, path in sources()
    if (wrong := forbidden(importer, path.read_text()))
  }
  assert not found


@pytest.mark.parametrize(
  ("importer", "text"),
  [
    ("layers", "from tfx_jax.models import encoder_decoder"),
    ("layers", "import tfx_jax.parallel"),
    ("models", "from tfx_jax import config"),
    ("training", "def f():\n  from tfx_jax.evaluation.evaluate import evaluate"),
    ("losses", "from tfx_jax import *"),
    ("models", "from ..layers import head"),
    ("pretrained", "from tfx_jax.data import corpus"),
    ("pretrained", "import tfx_jax.data"),
    ("experiments", "from tfx_jax import build"),
    ("build", "import experiments.wmt"),
    ("data", "import jax.numpy as jnp"),
    ("data", "def f():\n  from flax import linen"),
    ("report", "from tensorflow import io"),
    ("report", "try:\n  import torch\nexcept ImportError:\n  pass"),
  ],
)
def test_a_wrong_arrow_is_found(importer, text):
  assert forbidden(importer, text)


@pytest.mark.parametrize(
  ("importer", "text"),
  [
    ("layers", "from tfx_jax.layers.linear import add"),
    ("layers", "from tfx_jax.errors import UserError"),
    ("models", "from tfx_jax.layers import head"),
    (
      "pretrained",
      "from tfx_jax.data import tokenizer\nfrom tfx_jax.codecs.text.tokenizer import EOS",
    ),
    ("report", "def f():\n  import tensorflow"),
    ("training", "import jax"),
  ],
)
def test_a_right_arrow_is_not(importer, text):
  assert not forbidden(importer, text)


@pytest.mark.parametrize(
  ("modules", "absent"),
  [
    (["tfx_jax"], ["jax", "tensorflow", "torch"]),
    (
      [f"tfx_jax.data.{path.stem}" for path in ROOT.glob("tfx_jax/data/[!_]*.py")],
      ["jax", "tensorflow", "torch"],
    ),
  ],
  ids=["tfx_jax", "tfx_jax.data"],
)
def test_import_stays_light(modules, absent):
  code = f"import sys, {', '.join(modules)}; print(*set({absent}) & set(sys.modules))"
  loaded = subprocess.run(
    [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
  )
  assert loaded.stdout.split() == []
