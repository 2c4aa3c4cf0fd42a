"""From the configuration to the mesh."""

from collections.abc import Mapping

from ml_collections import ConfigDict

from tfx_jax.builders.data import make_layout
from tfx_jax.errors import UserError
from tfx_jax.parallel import Parallel, filled
from tfx_jax.runtime.processes import check_joined


def make_parallel(config: ConfigDict) -> Parallel:
  """Returns the mesh; its axes are checked against the sizes that they must divide."""
  check_joined()
  parallel = Parallel(**config.mesh)
  check_mesh(config, parallel.sizes)
  return parallel


def mesh_sizes(config: ConfigDict, devices: int) -> dict[str, int]:
  """Returns the checked sizes of the axes on a number of devices, which need not exist here."""
  sizes = filled(config.mesh.to_dict(), devices)
  check_mesh(config, sizes)
  return sizes


def check_mesh(config: ConfigDict, sizes: Mapping[str, int]) -> None:
  """Checks that each axis divides the sizes that are split over it.

  Raises:
    UserError: naming the key of the axis and the key of the size that it does not divide.
  """
  model, data = config.model, config.data
  rows = data.batch_size // config.train.microbatches
  length = make_layout(config).window or data.target_length
  lengths = {"data.source_length": data.source_length, "data.target_length": data.target_length}
  if model.architecture == "decoder_only":
    lengths = {"the length of a row, data.source_length + data.target_length": length}
  chunks = config.train.loss_chunks
  over_rows = {"data.batch_size / train.microbatches": rows}
  if model.attention_rows:
    over_rows["model.attention_rows"] = model.attention_rows
  if chunks:
    lengths["a chunk of the loss, by train.loss_chunks"] = length // chunks
  divided = {
    "mesh.tensor": {
      "model.num_heads": model.num_heads,
      "model.num_kv_heads": model.num_kv_heads or model.num_heads,
      "model.feed_forward": model.feed_forward,
      "model.vocab_multiple": model.vocab_multiple,
    },
    "mesh.fsdp": {"model.features": model.features},
    "mesh.sequence": lengths,
    "mesh.slices * mesh.data * mesh.fsdp": over_rows,
  }
  for keys, sized in divided.items():
    size = 1
    for key in keys.split(" * "):
      size *= sizes[key.removeprefix("mesh.")]
    for name, value in sized.items():
      if value % size:
        raise UserError(f"{keys}={size} does not divide {name}={value}")
