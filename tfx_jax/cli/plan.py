"""What a training step would take on devices that need not be there."""

import json
import os
import subprocess
import sys
import tempfile
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from tfx_jax import builders
from tfx_jax.cli.console import say, show, table
from tfx_jax.common.names import trusting
from tfx_jax.config import files as config_files
from tfx_jax.cost import cost
from tfx_jax.errors import UserError
from tfx_jax.models.parameters import EXAMPLE
from tfx_jax.models.quantized import count_parameters
from tfx_jax.training.state import TrainState, plan_state

NOTE = """\
by formula: products only; activations are an estimate
by shape: counted, exact
by XLA: the step compiled for {} CPU devices; bodies of loops (pieces of the loss, parts of a batch,
scanned layers) count once in its FLOPs, and what is bfloat16 may be float32 in its memory"""


def plan(config: ConfigDict, devices: int) -> int:
  """Prints parameters, FLOPs and bytes of a device: by formulas and shapes, and as XLA has them.

  XLA's are of the step as it is compiled for as many devices of the host's CPU, in a process of its
  own. Nothing is trained, and no data is read.

  Args:
    config: of the run; `model.dtype="auto"` is taken for bfloat16, as on a GPU or TPU.
    devices: how many there would be.

  Raises:
    UserError: if the mesh does not fit so many devices, or the step cannot be compiled.
  """
  if devices < 1:
    raise UserError(f"--devices={devices}: use 1 or more")
  if config.lora.rank:
    raise UserError(
      f"--mode=plan is of models all of which is learnt: lora.rank={config.lora.rank}"
    )
  if config.model.dtype == "auto":
    config.model.dtype = "bfloat16"
  mesh = builders.mesh_sizes(config, devices)
  size = builders.make_size(config, builders.planned_tokenizers(config), mesh)
  reckoned = cost(size, mesh)
  shown = ", ".join(f"{axis} {count}" for axis, count in mesh.items() if count > 1) or "one device"
  say(f"compiling for {devices} devices ({shown})")
  compiled = _compile_elsewhere(config, devices)
  show(f"{table(*_rows(reckoned, compiled, devices))}\n\n{NOTE.format(devices)}")
  return 0


def _rows(reckoned: Any, compiled: dict, devices: int) -> tuple[list[str], list[list[str]]]:
  """Header and rows of the table."""
  state = compiled["state"]

  def mega(size: float) -> str:
    return f"{size / 1e6:,.2f} MB"

  whole = sum(state.values()) + reckoned.activation_bytes + compiled["gradients"]
  rows = [
    ["parameters", f"{reckoned.parameters:,}", f"{compiled['parameters']:,}", ""],
    [
      "FLOPs of a step, all devices",
      f"{reckoned.flops:.4g}",
      "",
      f"{compiled['flops'] * devices:.4g}",
    ],
    *([f"{name}, a device", "", mega(bytes), ""] for name, bytes in state.items()),
    ["gradients, a device", "", mega(compiled["gradients"]), ""],
    ["activations, a device", mega(reckoned.activation_bytes), "", ""],
    ["state and batch, a device", "", "", mega(compiled["argument_bytes"])],
    ["gradients and activations, a device", "", "", mega(compiled["temporary_bytes"])],
    [
      "in all, a device",
      "",
      mega(whole),
      mega(compiled["argument_bytes"] + compiled["temporary_bytes"]),
    ],
  ]
  return ["", "by formula", "by shape", "by XLA"], rows


def _compile_elsewhere(config: ConfigDict, devices: int) -> dict[str, Any]:
  """What `compile_step` returns, in a process that has so many devices."""
  flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
  with tempfile.TemporaryDirectory() as folder:
    config_files.write_config(folder, config)
    done = subprocess.run(
      [sys.executable, "-m", "tfx_jax.cli.plan", folder],
      env=os.environ | {"XLA_FLAGS": flags.strip(), "JAX_PLATFORMS": "cpu"},
      capture_output=True,
      text=True,
    )
  if done.returncode:
    reason = (done.stderr.strip() or f"it ended with {done.returncode}").splitlines()[-1]
    raise UserError(f"--devices={devices}: the step cannot be compiled: {reason}")
  return json.loads(done.stdout)


def compile_step(config: ConfigDict) -> dict[str, Any]:
  """Compiles the training step for the devices there are; no array is made.

  Returns:
    `parameters`; `flops`, `argument_bytes` and `temporary_bytes` of a device, by XLA; and, by the
    shape of their shards, the bytes of a device of `gradients` and, by name, of `state`.
  """
  parallel = builders.make_parallel(config)
  model = builders.make_model(config, builders.planned_tokenizers(config))
  optimizer, schedule = builders.make_optimization(config)
  ema = config.train.ema_decay > 0
  make_state, shardings = plan_state(model, optimizer, config.seed, EXAMPLE, parallel, ema)
  state = jax.tree.map(
    lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
    jax.eval_shape(make_state.jitted),
    shardings,
  )
  layout = builders.make_layout(config)
  batch = {
    name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=parallel.by_row)
    for name, x in layout.arrays([layout.empty] * config.data.batch_size).items()
  }
  step = parallel.jit(
    builders.make_step(config, model, optimizer, schedule, parallel),
    donate_argnums=0,
    out_shardings=(shardings, None),
  )
  with parallel.context():
    compiled = step.jitted.lower(state, batch).compile()
  memory = compiled.memory_analysis()
  return {
    "parameters": count_parameters(state.params),
    "flops": compiled.cost_analysis()["flops"],
    "argument_bytes": memory.argument_size_in_bytes,
    "temporary_bytes": memory.temp_size_in_bytes,
    "gradients": _shard_bytes(state.params),
    "state": _state_bytes(state),
  }


def _state_bytes(state: TrainState) -> dict[str, int]:
  found = {
    "parameters": _shard_bytes(state.params),
    "optimizer state": _shard_bytes(state.opt_state),
  }
  return found | ({} if state.ema is None else {"moving average": _shard_bytes(state.ema)})


def _shard_bytes(tree: Any) -> int:
  """Bytes of the part of a tree that a device has."""
  return sum(
    int(np.prod(x.sharding.shard_shape(x.shape))) * x.dtype.itemsize for x in jax.tree.leaves(tree)
  )


if __name__ == "__main__":
  with trusting(True):  # the process that started this one has written the folder
    written = config_files.read_config(sys.argv[1])
  assert written is not None
  print(json.dumps(compile_step(written)))
