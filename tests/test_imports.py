"""Who may import whom, read from the sources without running them."""

import ast
import graphlib
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent

# What every folder may import, beside itself.
EVERYWHERE = ("errors", "common")
# What a folder, or a file of the root, may import, too.
LEARNED = ("models", "layers", "decoding", "losses", "metrics", "data", "codecs", "report")
PARTS = (*LEARNED, "sources", "tasks", "training", "generation", "parallel", "cost", "runtime")
PROGRAM = ("demo", "run", "builders", "config", "evaluation", "sweep", *PARTS)
MAY_IMPORT = {
  "experiments": ("config",),
  "__init__": ("cli", "run"),
  "main": ("cli",),
  "cli": PROGRAM,
  "demo": ("run", "report", "generation", "tasks"),
  "run": ("builders", "config", "evaluation", "pretrained", *PARTS),
  "builders": ("config", "evaluation", *PARTS),
  "sweep": ("config",),
  "evaluation": ("generation", *LEARNED, "parallel", "runtime"),
  "generation": (*LEARNED, "parallel", "runtime"),
  "training": (*LEARNED, "parallel", "runtime"),
  "pretrained": ("models", "codecs"),
  "tasks": ("data", "metrics", "sources"),
  "models": ("layers",),
  "losses": ("layers.gradients",),
  "data": ("codecs", "sources"),
  "report": (),
  "config": ("generation.settings",),  # where defaults are declared
  "errors": (),
} | dict.fromkeys(
  ("layers", "decoding", "metrics", "sources", "codecs", "runtime", "common", "parallel", "cost"),
  (),
)
FOREIGN = ("tensorflow", "torch", "gradio")  # not at import
MAY_NEED = {"demo": ("gradio",)}  # which nothing imports before it is used
WITHOUT_JAX = ("data", "codecs", "sources", "config", "common")
JAX = ("jax", "flax", "optax", "orbax", "clu")


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
      allowed = (*EVERYWHERE, importer, *MAY_IMPORT.get(importer, ()))
      if not any(f"{path}.".startswith(f"{module}.") for module in allowed):
        ours.append(name)
    elif importer in WITHOUT_JAX and name.split(".")[0] in JAX:
      foreign.append(name)
  at_import = [*imported(without_functions(ast.parse(text)))]
  needed = MAY_NEED.get(importer, ())
  foreign += [x for x in at_import if x.split(".")[0] in FOREIGN and not x.startswith(needed)]
  foreign += [x for x in at_import if x.startswith("tfx_jax.demo") and importer != "demo"]
  return ours + foreign


def test_every_file_has_its_place():
  assert {importer for importer, _ in sources()} - MAY_IMPORT.keys() == set()


def module_name(path):
  parts = path.relative_to(ROOT).with_suffix("").parts
  return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_no_module_imports_itself_in_a_circle():
  paths = {module_name(path): path for path in ROOT.glob("tfx_jax/**/*.py")}
  graph = {name: set() for name in paths}
  for name, path in paths.items():
    for found in imported(without_functions(ast.parse(path.read_text()))):
      # `from package import module` or `from module import name`.
      target = found if found in paths else found.rpartition(".")[0]
      if target in paths and target != name:
        graph[name].add(target)
  try:
    order = [*graphlib.TopologicalSorter(graph).static_order()]
  except graphlib.CycleError as error:
    pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")
  assert set(order) == paths.keys()


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
    ("experiments", "from tfx_jax import builders"),
    ("builders", "import experiments.wmt"),
    ("data", "import jax.numpy as jnp"),
    ("codecs", "def f():\n  from flax import linen"),
    ("report", "from tensorflow import io"),
    ("report", "try:\n  import torch\nexcept ImportError:\n  pass"),
    ("cli", "from tfx_jax.demo import page"),
    ("cli", "import gradio"),
    ("demo", "import torch"),
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
    ("pretrained", "from tfx_jax.codecs.text import files\nfrom tfx_jax.models import lora"),
    ("decoding", "from tfx_jax.common.ranges import Range"),
    ("report", "def f():\n  import tensorflow"),
    ("cli", "def f():\n  from tfx_jax.demo import page"),
    ("demo", "import gradio as gr"),
    ("training", "import jax"),
  ],
)
def test_a_right_arrow_is_not(importer, text):
  assert not forbidden(importer, text)


@pytest.mark.parametrize(
  ("modules", "absent"),
  [
    (["tfx_jax"], ["jax", "tensorflow", "torch"]),
    (["tfx_jax.main"], ["jax", "absl", "ml_collections"]),  # the process may be restarted
    (["tfx_jax.config", "tfx_jax.config.files"], ["jax", "tensorflow", "torch"]),
    (
      [f"tfx_jax.data.{path.stem}" for path in ROOT.glob("tfx_jax/data/[!_]*.py")],
      ["jax", "tensorflow", "torch"],
    ),
  ],
  ids=["tfx_jax", "tfx_jax.main", "tfx_jax.config", "tfx_jax.data"],
)
def test_import_stays_light(modules, absent):
  code = f"import sys, {', '.join(modules)}; print(*set({absent}) & set(sys.modules))"
  loaded = subprocess.run(
    [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
  )
  assert loaded.stdout.split() == []
