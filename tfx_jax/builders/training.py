"""From the configuration to the optimizer, the training step and its timetable."""

from collections.abc import Callable
from typing import Any

from flax import linen as nn
from ml_collections import ConfigDict

from tfx_jax.builders.named import arguments_of
from tfx_jax.models.lora import Adapted, adapters_only
from tfx_jax.parallel import Parallel
from tfx_jax.training.loop import Timetable
from tfx_jax.training.optimizer import make_optimizer, make_schedule
from tfx_jax.training.step import make_train_step


def make_optimization(config: ConfigDict) -> tuple[Any, Callable]:
  """The optimizer and its schedule."""
  settings = config.optimizer.to_dict()
  shape = {
    key: settings.pop(key) for key in ("schedule", "learning_rate", "warmup_steps", "final_share")
  }
  schedule = make_schedule(**shape, num_steps=config.train.num_steps)
  optimizer = make_optimizer(schedule, **settings)
  return (adapters_only(optimizer) if config.lora.rank else optimizer), schedule


def make_adapted(config: ConfigDict, model: nn.Module) -> nn.Module | Adapted:
  """What is trained: the model, or what of `config.lora` adapts it."""
  return Adapted(model, **config.lora) if config.lora.rank else model


def make_step(
  config: ConfigDict, model: nn.Module, optimizer: Any, schedule: Callable, parallel: Parallel
) -> Callable:
  """The training step, to be jitted on the mesh."""
  settings = arguments_of(make_train_step, config.train)
  parts = parallel.batch_parts
  return make_train_step(
    model,
    optimizer,
    schedule,
    config.seed,
    parts=parts,
    plain_gradients=config.model.plain_gradients,
    **settings,
  )


def make_timetable(config: ConfigDict) -> Timetable:
  """When the loop logs, validates and saves."""
  return Timetable(**arguments_of(Timetable, config.train))


def state_settings(config: ConfigDict) -> dict[str, Any]:
  """Settings that decide which arrays a state has, by 'section.key'; saved with checkpoints."""
  sections = ("model", "tokenizer", "optimizer", "lora")
  found = {f"{name}.{key}": value for name in sections for key, value in config[name].items()}
  return found | {"train.ema_decay": config.train.ema_decay}
