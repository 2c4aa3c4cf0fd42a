"""Estimates memory and FLOPs of a training step on devices that need not exist here."""

import json
import os
import subprocess
import sys
import tempfile

import jax
import numpy as np
from ml_collections import ConfigDict

from tfx_jax import builders
from tfx_jax.cli.console import say, show, table
from tfx_jax.common.json_object import JsonObject
from tfx_jax.common.names import trusting
from tfx_jax.common.tree import Tree
from tfx_jax.config import files as config_files
from tfx_jax.cost import Cost, cost
from tfx_jax.errors import UserError
from tfx_jax.models.quantized import count_parameters
from tfx_jax.run.exported_form import exported_form
from tfx_jax.training.state import TrainState, plan_state

NOTE = """\
by formula: matrix products only; activations are an estimate
by shape: counted, exact
by XLA: the step compiled for {} CPU devices; FLOPs count the body of a loop (chunks of the loss,
microbatches, scanned layers) once, and memory may have float32 in place of bfloat16"""


def plan(config: ConfigDict, devices: int) -> int:
  """Prints parameters, FLOPs and bytes of a device: by formula, by shape and by XLA.

  For XLA's numbers the step is compiled for as many devices of the host's CPU, in another process.
  Nothing is trained, and no data is read.

  Args:
    config: configuration of the run; `model.dtype="auto"` means bfloat16, as on a GPU or TPU.
    devices: number of devices to plan for.

  Raises:
    UserError: if the mesh does not fit so many devices, or the step cannot be compiled.
  """
  if devices < 1:
    raise UserError(f"--devices={devices}: use 1 or more")
  if config.lora.rank:
    raise UserError(
      f"--mode=plan has no numbers for adapters: lora.rank={config.lora.rank}; use lora.rank=0"
    )
  if config.model.dtype == "auto":
    config.model.dtype = "bfloat16"
  mesh = builders.mesh_sizes(config, devices)
  size = builders.make_size(config, builders.planned_codecs(config), mesh)
  estimate = cost(size, mesh)
  shown = ", ".join(f"{axis} {count}" for axis, count in mesh.items() if count > 1) or "one device"
  say(f"for --mode=export: {exported_form(config)}")
  say(f"compiling for {devices} devices ({shown})")
  compiled = _compile_elsewhere(config, devices)
  show(f"{table(*_rows(estimate, compiled, devices))}\n\n{NOTE.format(devices)}")
  return 0


def _rows(estimate: Cost, compiled: dict, devices: int) -> tuple[list[str], list[list[str]]]:
  """Returns header and rows of the table."""
  state = compiled["state"]

  def mega(size: float) -> str:
    return f"{size / 1e6:,.2f} MB"

  whole = sum(state.values()) + estimate.activation_bytes + compiled["gradients"]
  rows = [
    ["parameters", f"{estimate.parameters:,}", f"{compiled['parameters']:,}", ""],
    [
      "FLOPs of a step, all devices",
      f"{estimate.flops:.4g}",
      "",
      f"{compiled['flops'] * devices:.4g}",
    ],
    *([f"{name}, a device", "", mega(bytes), ""] for name, bytes in state.items()),
    ["gradients, a device", "", mega(compiled["gradients"]), ""],
    ["activations, a device", mega(estimate.activation_bytes), "", ""],
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


def _compile_elsewhere(config: ConfigDict, devices: int) -> JsonObject:
  """Returns the result of `compile_step` in a process that has as many CPU devices."""
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


def compile_step(config: ConfigDict) -> JsonObject:
  """Compiles the training step for the devices of this process, without making arrays.

  Returns:
    `parameters`; for one device by XLA, `flops`, `argument_bytes` and `temporary_bytes`; and for
    one device by the shapes of shards, the bytes of `gradients` and of each part of `state`.
  """
  parallel = builders.make_parallel(config)
  codecs = builders.planned_codecs(config)
  model = builders.make_model(config, codecs)
  optimizer, schedule = builders.make_optimization(config)
  ema = config.train.ema_decay > 0
  make_state, shardings = plan_state(
    model, optimizer, config.seed, builders.example_of(codecs), parallel, ema
  )
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


def _shard_bytes(tree: Tree) -> int:
  """Returns the bytes of one device's shards of a tree."""
  return sum(
    int(np.prod(x.sharding.shard_shape(x.shape))) * x.dtype.itemsize for x in jax.tree.leaves(tree)
  )


if __name__ == "__main__":
  with trusting(True):  # the process that started this one has written the folder
    written = config_files.read_config(sys.argv[1])
  assert written is not None
  print(json.dumps(compile_step(written)))
