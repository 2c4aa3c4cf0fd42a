"""From the configuration to the parts of a run; folders below this one take plain arguments."""

from tfx_jax.builders.codecs import (
  as_configured,
  make_codecs,
  saved_codecs,
)
from tfx_jax.builders.data import (
  SPLITS,
  TASKS,
  cache_folder,
  data_fingerprints,
  describe_held_out,
  make_corpora,
  make_corpus,
  make_layout,
  make_loader,
  make_source,
  make_task,
  read_examples,
)
from tfx_jax.builders.generation import make_generate_settings, make_generator
from tfx_jax.builders.mesh import make_parallel, mesh_sizes
from tfx_jax.builders.model import (
  ARCHITECTURES,
  DTYPES,
  NORMS,
  POSITIONS,
  example_of,
  make_model,
)
from tfx_jax.builders.plan import make_size, planned_codecs
from tfx_jax.builders.sides import side_kinds, side_lengths
from tfx_jax.builders.structured import rotary_scaling, windows
from tfx_jax.builders.training import (
  has_likelihood,
  make_adapted,
  make_intervals,
  make_objective,
  make_optimization,
  make_step,
  state_settings,
)

__all__ = [
  "ARCHITECTURES",
  "DTYPES",
  "NORMS",
  "POSITIONS",
  "SPLITS",
  "TASKS",
  "as_configured",
  "cache_folder",
  "data_fingerprints",
  "describe_held_out",
  "example_of",
  "has_likelihood",
  "make_adapted",
  "make_codecs",
  "make_corpora",
  "make_corpus",
  "make_generate_settings",
  "make_generator",
  "make_intervals",
  "make_layout",
  "make_loader",
  "make_model",
  "make_objective",
  "make_optimization",
  "make_parallel",
  "make_size",
  "make_source",
  "make_step",
  "make_task",
  "mesh_sizes",
  "planned_codecs",
  "read_examples",
  "rotary_scaling",
  "saved_codecs",
  "side_kinds",
  "side_lengths",
  "state_settings",
  "windows",
]
