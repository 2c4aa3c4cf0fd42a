"""Notebooks: sources and executed forms agree, and every one runs on a CPU.

Jupyter is not needed: a source is a Python program, and a notebook is JSON.
"""

import importlib.metadata
import json
import os
import pathlib
import resource
import subprocess
import sys
import tomllib

import jax
import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent
FOLDER = ROOT / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.name != "build.py")
HOME = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Homepage"]
# Seconds of a processor that a notebook may take with few steps of training; the time of a clock
# depends on what else the machine does. Most take 50 to 60, half more where others share a core.
LIMIT = 150


def source_cells(text):
  """(kind, content) of the cells of a source in percent format."""
  for part in ("\n" + text).split("\n# %%")[1:]:
    kind, _, content = part.partition("\n")
    content = content.strip("\n")
    if kind == " [markdown]":
      yield "markdown", "\n".join(line.removeprefix("#")[1:] for line in content.split("\n"))
    else:
      assert kind == "", kind
      yield "code", content


def cells(name):
  return [*source_cells((FOLDER / f"{name}.py").read_text())]


def executed(name):
  return json.loads((FOLDER / f"{name}.ipynb").read_text())["cells"]


def install_cell(name):
  (content,) = [text for kind, text in cells(name) if text.startswith("# Install tfx_jax")]
  return content


def test_the_percent_format_is_understood():
  text = "# %% [markdown]\n# # A title\n#\n# Text.\n\n# %%\na = 1\n\n\n# %%\n# A comment.\nb = 2\n"
  assert [*source_cells(text)] == [
    ("markdown", "# A title\n\nText."),
    ("code", "a = 1"),
    ("code", "# A comment.\nb = 2"),
  ]


def test_there_are_notebooks():
  assert len(NAMES) == 7
  assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_both_forms_have_the_same_cells(name):
  assert [(x["cell_type"], "".join(x["source"])) for x in executed(name)] == cells(name)


@pytest.mark.parametrize("name", NAMES)
def test_it_has_been_executed_in_order_and_without_errors(name):
  code = [cell for cell in executed(name) if cell["cell_type"] == "code"]
  assert [cell["execution_count"] for cell in code] == [*range(1, len(code) + 1)]
  outputs = [output for cell in code for output in cell["outputs"]]
  assert not [output for output in outputs if output["output_type"] == "error"]
  assert any("image/png" in output.get("data", {}) for output in outputs)
  assert (FOLDER / f"{name}.ipynb").stat().st_size < 500_000


@pytest.mark.parametrize("name", NAMES)
def test_it_names_no_place_of_the_machine_that_made_it(name):
  text = (FOLDER / f"{name}.ipynb").read_text()
  assert [place for place in ("/root/", "/home/", "/tmp/tmp", "/work/") if place in text] == []


@pytest.mark.parametrize("name", NAMES)
def test_its_head_opens_it_in_colab(name):
  (kind, text), *_ = cells(name)
  repository = HOME.removeprefix("https://")
  address = f"https://colab.research.google.com/{repository.replace('.com', '')}"
  assert kind == "markdown" and f"({address}/blob/main/notebooks/{name}.ipynb)" in text


@pytest.mark.parametrize("name", NAMES)
def test_all_install_in_the_same_way(name):
  def without_extras(text):
    return [line for line in text.split("\n") if not line.startswith("EXTRAS = ")]

  assert without_extras(install_cell(name)) == without_extras(install_cell("quickstart"))


@pytest.mark.parametrize("clone", [True, False])
def test_installing_keeps_jax(clone, tmp_path, monkeypatch, capsys):
  commands = []
  others = [x for x in importlib.metadata.distributions() if x.name != "tfx_jax"]
  monkeypatch.setattr(importlib.metadata, "distributions", lambda: others)
  monkeypatch.setattr(subprocess, "run", lambda words, check: commands.append(words))
  monkeypatch.setattr(sys, "path", [*sys.path])
  (tmp_path / "notebooks").mkdir()
  monkeypatch.chdir(tmp_path / "notebooks")
  if clone:
    (tmp_path / "tfx_jax").mkdir()
    (tmp_path / "tfx_jax" / "main.py").touch()
  exec(install_cell("quickstart").replace('EXTRAS = ""', 'EXTRAS = "[pretrained]"'), {})
  ((python, *words),) = commands
  assert python == sys.executable and words[:5] == ["-m", "pip", "install", "-q", "-c"]
  kept = pathlib.Path(words[5]).read_text().splitlines()
  assert f"jax=={jax.__version__}" in kept and any(x.startswith("jaxlib==") for x in kept)
  wanted = ["-e", f"{tmp_path}[pretrained]"] if clone else [f"tfx_jax[pretrained] @ git+{HOME}"]
  assert words[6:] == wanted
  assert f"jax {jax.__version__}" in capsys.readouterr().out


def test_where_it_is_installed_nothing_is(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(subprocess, "run", lambda *words, **settings: pytest.fail(str(words)))
  exec(install_cell("quickstart"), {})
  assert not [*tmp_path.iterdir()]


def test_a_clone_in_the_working_folder_is_not_an_installation(tmp_path, monkeypatch):
  """Python takes any folder for a package, in Colab that of a clone."""
  monkeypatch.chdir(tmp_path)
  (tmp_path / "tfx_jax").mkdir()
  others = [x for x in importlib.metadata.distributions() if x.name != "tfx_jax"]
  monkeypatch.setattr(importlib.metadata, "distributions", lambda: others)
  commands = []
  monkeypatch.setattr(subprocess, "run", lambda words, check: commands.append(words))
  exec(install_cell("quickstart"), {})
  assert len(commands) == 1 and commands[0][-1].endswith(f"git+{HOME}")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_runs_on_a_cpu(name, tmp_path, cache_folder):
  """The same code; the environment asks for few steps and quick compilation."""
  (tmp_path / "launch").symlink_to(ROOT / "launch")
  folder = tmp_path / "notebooks"
  folder.mkdir()
  settings = {
    "JAX_PLATFORMS": "cpu",
    "PYTHONPATH": str(ROOT),
    "TFX_JAX_CACHE": cache_folder,
    "TFX_JAX_NOTEBOOK_STEPS": "4",
    "XLA_FLAGS": " ".join(x for x in os.environ["XLA_FLAGS"].split() if "device_count" not in x),
  }
  environment = {key: value for key, value in os.environ.items() if key != "NPROC"} | settings
  before = children_seconds()
  done = subprocess.run(
    [sys.executable, str(FOLDER / f"{name}.py")],
    cwd=folder,
    env=environment,
    capture_output=True,
    text=True,
    timeout=5 * LIMIT,
  )
  assert done.returncode == 0, done.stderr[-3000:]
  seconds = children_seconds() - before
  print(f"{name}: {seconds:.0f} s")
  assert seconds <= LIMIT


def children_seconds():
  """Processor time of all processes that this one has waited for."""
  used = resource.getrusage(resource.RUSAGE_CHILDREN)
  return used.ru_utime + used.ru_stime
