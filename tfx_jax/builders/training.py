"""From the configuration to the optimizer, the objective, the training step and its intervals."""

from collections.abc import Callable
from typing import Any, cast

import optax
from ml_collections import ConfigDict

from tfx_jax.builders.named import arguments_of
from tfx_jax.codecs.codec import Element, Frames
from tfx_jax.codecs.special_tokens import DEFAULT
from tfx_jax.common.json_object import JsonObject
from tfx_jax.models.autoencoder import AutoencoderModel
from tfx_jax.models.lora import Adapted, adapters_only
from tfx_jax.models.masked import MaskedModel
from tfx_jax.models.model import Model
from tfx_jax.parallel import Parallel
from tfx_jax.training.intervals import Intervals
from tfx_jax.training.masked_objective import MaskedObjective
from tfx_jax.training.objective import FrameObjective, Objective, TokenObjective
from tfx_jax.training.optimizer import Schedule, make_optimizer, make_schedule
from tfx_jax.training.reconstruction_objective import ReconstructionObjective
from tfx_jax.training.step import make_train_step


def make_optimization(config: ConfigDict) -> tuple[optax.GradientTransformation, Schedule]:
  """Returns the optimizer and its schedule."""
  settings = config.optimizer.to_dict()
  shape = {
    key: settings.pop(key) for key in ("schedule", "learning_rate", "warmup_steps", "final_share")
  }
  schedule = make_schedule(**shape, num_steps=config.train.num_steps)
  optimizer = make_optimizer(schedule, **settings)
  return (adapters_only(optimizer) if config.lora.rank else optimizer), schedule


def make_adapted(config: ConfigDict, model: Model) -> Model:
  """Returns the model to train: the model itself, or `Adapted` if `config.lora` asks for it."""
  return Adapted(model, **config.lora) if config.lora.rank else model


def make_objective(
  config: ConfigDict, model: Model, parallel: Parallel, target: Element | None = None
) -> Objective:
  """Returns the objective that a model is trained and validated by.

  Args:
    config: the configuration.
    model: the model.
    parallel: the mesh.
    target: the element of targets; None for tokens.
  """
  if config.model.architecture == "autoencoder":
    return ReconstructionObjective(cast(AutoencoderModel, model))
  if isinstance(target, Frames):
    return FrameObjective(model)
  shared: dict[str, Any] = {
    "device_parts": parallel.batch_parts,
    "plain_gradients": config.model.plain_gradients,
  }
  shared["mask"] = (DEFAULT if target is None else target.special_tokens).mask
  if config.model.architecture == "masked":
    settings = arguments_of(MaskedObjective, config.train)
    return MaskedObjective(cast(MaskedModel, model), **shared, **settings)
  return TokenObjective(model, **shared, **arguments_of(TokenObjective, config.train))


def make_step(
  config: ConfigDict,
  model: Model,
  optimizer: optax.GradientTransformation,
  schedule: Schedule,
  parallel: Parallel,
  target: Element | None = None,
) -> Callable:
  """Returns the training step, to be jitted on the mesh; `target` as in `make_objective`."""
  objective = make_objective(config, model, parallel, target)
  settings = arguments_of(make_train_step, config.train)
  return make_train_step(objective, optimizer, schedule, config.seed, **settings)


def has_likelihood(config: ConfigDict) -> bool:
  """Returns whether the loss of a model is the likelihood of its targets."""
  return config.model.architecture in ("encoder_decoder", "decoder_only")


def make_intervals(config: ConfigDict) -> Intervals:
  """Returns the steps at which the loop logs, validates and saves."""
  return Intervals(**arguments_of(Intervals, config.train))


def state_settings(config: ConfigDict) -> JsonObject:
  """Returns the settings that decide which arrays a state has, saved with checkpoints."""
  sections = ("model", "tokenizer", "optimizer", "lora")
  values = config.to_dict()
  settings = {f"{name}.{key}": value for name in sections for key, value in values[name].items()}
  return settings | {"train.ema_decay": config.train.ema_decay}
