"""Conversion between generation_config.json and our section `generate`."""

from collections.abc import Sequence

from tfx_jax.common.json_object import JsonObject
from tfx_jax.errors import UserError
from tfx_jax.pretrained.family import Settings

# Settings that only differ in their names.
_SAME = {
  "num_beams": "beam_size",
  "no_repeat_ngram_size": "no_repeat_ngram_size",
  "repetition_penalty": "repetition_penalty",
  "num_return_sequences": "num_return",
}
_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p")
# Settings that we do not support, with the values by which they have no effect.
_UNSUPPORTED = {
  "diversity_penalty": (0.0, None),
  "encoder_no_repeat_ngram_size": (0, None),
  "encoder_repetition_penalty": (1.0, None),
  "exponential_decay_length_penalty": (None,),
  "begin_suppress_tokens": (None, []),
  "sequence_bias": (None,),
  "penalty_alpha": (None, 0.0),
  "num_beam_groups": (1, None),
  "epsilon_cutoff": (0.0, None),
  "eta_cutoff": (0.0, None),
  "top_h": (None,),
  "guidance_scale": (1.0, None),
  "constraints": (None, []),
  "force_words_ids": (None, []),
  "stop_strings": (None, []),
  "watermarking_config": (None,),
}


def read(values: JsonObject, origin: str, given: int) -> Settings:
  """Returns the section `generate` for a generation_config.json, except forbidden pieces.

  Args:
    values: contents of the file.
    origin: path of the file, for errors.
    given: number of tokens that each output starts with: the start token and forced ones. In the
      file, max_length and min_length count all of these, and max_new_tokens and min_new_tokens all
      but the start token. Our lengths count the generated tokens only, with EOS.

  Raises:
    UserError: for a setting that we do not support.
  """
  for name, harmless in _UNSUPPORTED.items():
    if values.get(name) not in harmless:
      raise UserError(f"{origin}: {name}={values[name]!r} is not supported")
  settings: Settings = {
    "beam_size": 1,
    "length_penalty_form": "power",
    "length_penalty": _value(values, "length_penalty", 1.0),
    "early_stopping": values.get("early_stopping") is True,
    "max_length": max(_longest(values, origin, given), 1),
    "max_length_ratio": 0.0,
    "min_length": max(_shortest(values, origin, given), 1),
  }
  settings |= {ours: values[theirs] for theirs, ours in _SAME.items() if values.get(theirs)}
  if values.get("do_sample"):
    if settings["beam_size"] > 1:
      raise UserError(
        f"{origin}: num_beams={settings['beam_size']} is not supported with do_sample"
      )
    settings["search"] = "sample"
    defaults = {"temperature": 1.0, "top_k": 50, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0}
    settings |= {name: _value(values, name, defaults[name]) for name in _SAMPLING}
    settings["beam_size"] = 1
  elif settings["beam_size"] == 1:
    settings["early_stopping"] = False
  return settings


def _longest(values: JsonObject, origin: str, given: int) -> int:
  new, whole = (_count(values, origin, name, 1) for name in ("max_new_tokens", "max_length"))
  if new:
    return new - max(given - 1, 0)
  return whole - given if whole else 128


def _shortest(values: JsonObject, origin: str, given: int) -> int:
  """Returns our min_length, which counts EOS; the file's counts the tokens before it."""
  new, whole = (_count(values, origin, name, 0) for name in ("min_new_tokens", "min_length"))
  if new:
    return new - max(given - 1, 0) + 1
  return whole - given + 1 if whole else 1


def write(settings: Settings, forced: int) -> JsonObject:
  """Returns a generation_config.json for the section `generate`.

  Settings that transformers does not have are left out.

  Args:
    settings: the section `generate`.
    forced: number of tokens that each output starts with after the start token. transformers counts
      them as new tokens; our lengths do not count them.
  """
  values = {theirs: settings[ours] for theirs, ours in _SAME.items()}
  values |= {
    "max_new_tokens": settings["max_length"] + forced,
    "length_penalty": settings["length_penalty"],
    "early_stopping": settings["early_stopping"] or "never",
  }
  if settings["min_length"] > 1:
    values["min_new_tokens"] = settings["min_length"] - 1 + forced
  if settings["search"] == "sample":
    values |= {"do_sample": True} | {name: settings[name] for name in _SAMPLING}
  if settings["search"] == "sample" or settings["beam_size"] == 1:
    for name in ("length_penalty", "early_stopping"):
      del values[name]
    values["num_beams"] = 1
  return values


def suppressed(values: JsonObject, origin: str, vocab_size: int) -> Sequence[int]:
  """Returns the ids that are never generated.

  Raises:
    UserError: for a phrase of several tokens, or an id that the model does not have.
  """
  words = values.get("bad_words_ids") or []
  if any(len(ids) != 1 for ids in words):
    raise UserError(f"{origin}: bad_words_ids of several tokens are not supported")
  ids_by_key = {
    "suppress_tokens": values.get("suppress_tokens") or [],
    "bad_words_ids": [ids[0] for ids in words],
  }
  for name, ids in ids_by_key.items():
    for i in ids:
      if not 0 <= i < vocab_size:
        raise UserError(f"{origin}: {name} holds {i}: use ids below {vocab_size}")
  return sorted({i for ids in ids_by_key.values() for i in ids})


def _count(values: JsonObject, origin: str, name: str, least: int) -> int | None:
  """Returns a setting that is a number of tokens, or None if it is missing.

  Raises:
    UserError: for a number below `least`.
  """
  value = values.get(name)
  if value is not None and (not isinstance(value, int) or value < least):
    raise UserError(f"{origin}: {name}={value!r}: use {least} or more, or leave it out")
  return value


def _value(values: JsonObject, name: str, default: float) -> float:
  value = values.get(name)
  return default if value is None else value
