"""What a family of foreign models is asked for, and how its settings are read."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tfx_jax.errors import UserError
from tfx_jax.pretrained.weights import Entry

Settings = dict[str, Any]

ACTIVATIONS = {
  "relu": "relu",
  "gelu": "gelu",
  "gelu_new": "gelu_tanh",
  "gelu_pytorch_tanh": "gelu_tanh",
  "silu": "silu",
  "swish": "silu",
}


class Family(NamedTuple):
  """A kind of model in a Hugging Face folder.

  Attributes:
    architecture: its class in transformers, as config.json names it.
    read_settings: from config.json to what the section `model` has of its own.
    write_settings: from the section `model` to config.json.
    entries: from the section `model` and the number of tokens to what is where.
    ignored: names of tensors that may be in a folder and say nothing new, as regular expressions.
  """

  architecture: str
  read_settings: Callable[["Foreign"], Settings]
  write_settings: Callable[[Settings], Settings]
  entries: Callable[[Settings, int], Sequence[Entry]]
  ignored: Sequence[str] = ()


class Foreign:
  """A config.json that is read setting by setting.

  Args:
    values: its content.
    origin: its path, for errors.
    tensors: by name.
  """

  def __init__(self, values: Mapping[str, Any], origin: str, tensors: Mapping[str, Any]):
    self._values, self.origin, self.tensors = values, origin, tensors

  def __call__(self, name: str, default: Any = None) -> Any:
    """The value of a setting; without a default it must be there.

    Raises:
      UserError: if it is not.
    """
    value = self.get(name, default)
    if value is None:
      raise UserError(f"{self.origin} lacks '{name}'")
    return value

  def get(self, name: str, default: Any = None) -> Any:
    """The value of a setting that may be missing; null means the default, as in transformers."""
    value = self._values.get(name)
    return default if value is None else value

  def expect(self, **values: Any) -> None:
    """Looks that settings have the only value that is supported, or are missing.

    Raises:
      UserError: naming the first that has another.
    """
    for name, value in values.items():
      if self.get(name, value) != value:
        raise UserError(
          f"{self.origin}: {name}={self._values[name]!r} is not supported, only {value!r} is"
        )

  def choice(self, name: str, choices: Mapping[str, str]) -> str:
    """What a setting means.

    Raises:
      UserError: for one that means nothing here.
    """
    value = self(name)
    if value not in choices:
      raise UserError(
        f"{self.origin}: {name}={value!r} is not supported, only {', '.join(choices)}"
      )
    return choices[value]


def foreign_activation(name: str) -> str:
  """What transformers calls one of our activations."""
  return {"gelu_tanh": "gelu_new", "silu": "silu"}.get(name, name)
