"""Values that older versions wrote into config.json."""

from collections.abc import Mapping, Sequence

from tfx_jax.common.json_object import JsonObject


def from_format_1(sections: JsonObject) -> JsonObject:
  """Returns the sections of format 1, with Python values for structured settings.

  Format 1 had texts for them: '0 0 4096', 'llama3 8 1 4 8192', 'NAME=NUMBER',
  'REGEX NAME=NUMBER', 'REGEX FIRST-LAST'.

  Raises:
    ValueError: naming the key, for a text that is none of these.
  """
  converted: JsonObject = dict(sections)
  for key, convert in _CONVERT.items():
    section, name = key.split(".")
    values = converted.get(section)
    if not isinstance(values, Mapping) or name not in values:
      continue
    try:
      converted[section] = {**values, name: convert(values[name])}
    except (ValueError, AttributeError, TypeError) as error:
      raise ValueError(f"{key}={values[name]!r} means nothing") from error
  return converted


def _windows(text: str) -> tuple[int, ...]:
  return tuple(int(word) for word in text.split())


def _rotary_scaling(text: str) -> tuple[str | float, ...]:
  kind, *numbers = text.split() or [""]
  return (kind, *(float(number) for number in numbers)) if kind else ()


def _numbers(words: Sequence[str]) -> dict[str, float]:
  pairs = (word.split("=") for word in words)
  return {name: int(text) if text.isdigit() else float(text) for name, text in pairs}


def _group(text: str) -> tuple[str, dict[str, float]]:
  pattern, *words = text.split()
  return pattern, _numbers(words)


def _target(text: str) -> str | tuple[str, tuple[int, int]]:
  pattern, *layers = text.split()
  if not layers:
    return pattern
  first, last = layers[0].split("-")
  return pattern, (int(first), int(last))


_CONVERT = {
  "model.windows": _windows,
  "model.rotary_scaling": _rotary_scaling,
  "optimizer.settings": _numbers,
  "optimizer.groups": lambda groups: tuple(map(_group, groups)),
  "lora.targets": lambda targets: tuple(map(_target, targets)),
}
