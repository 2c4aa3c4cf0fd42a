"""A wheel has all of the package, and the experiments by name."""

import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
  """A wheel of the repository, unpacked as an installation lays it out."""
  folder = tmp_path_factory.mktemp("wheel")
  # Of a copy: setuptools leaves a folder build/ where it works.
  for name in ("tfx_jax", "experiments"):
    shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("*.pyc"))
  for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
    shutil.copy(ROOT / name, folder / "source")
  program = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
  subprocess.run(
    [sys.executable, "-c", program, str(folder)],
    cwd=folder / "source",
    check=True,
    capture_output=True,
  )
  (path,) = folder.glob("*.whl")
  with zipfile.ZipFile(path) as archive:
    archive.extractall(folder / "site")
  return folder / "site"


def test_a_wheel_has_every_file_of_the_package_and_the_experiments(wheel):
  found = {path.relative_to(wheel / "tfx_jax") for path in (wheel / "tfx_jax").rglob("*.*")}
  package = {path.relative_to(ROOT / "tfx_jax") for path in (ROOT / "tfx_jax").rglob("*.py")}
  experiments = {path.relative_to(ROOT) for path in (ROOT / "experiments").glob("*.py")}
  assert found == package | experiments | {pathlib.Path("py.typed")}
  assert {path.name.split("-")[0] for path in wheel.iterdir()} == {"tfx_jax"}


def test_experiments_of_a_wheel_go_by_name(wheel, tmp_path):
  program = (
    "from tfx_jax.config import experiment; from tfx_jax.main import main; "
    "print(experiment.__file__); main(['train', '--help']); "
    "print(experiment.read_experiment('quickstart:en-fr').task.target)"
  )
  done = subprocess.run(
    [sys.executable, "-c", program],
    cwd=tmp_path,
    env=os.environ | {"PYTHONPATH": str(wheel)},
    check=True,
    capture_output=True,
    text=True,
  )
  first, *shown, target = done.stdout.splitlines()
  assert pathlib.Path(first).is_relative_to(wheel) and target == "fr"
  assert any(line.startswith("  quickstart ") for line in shown)
