"""Packages of the distribution: `experiments/` is installed as `tfx_jax/experiments/`.

Everything else that describes the project is in pyproject.toml, which cannot say this.
"""

from setuptools import find_packages, setup

setup(
  packages=[*find_packages(include=["tfx_jax", "tfx_jax.*"]), "tfx_jax.experiments"],
  package_dir={"tfx_jax.experiments": "experiments"},
)
