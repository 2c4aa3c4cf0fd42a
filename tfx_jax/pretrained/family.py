"""Interface of a family of pretrained models, and a reader of their settings."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tfx_jax.common.json_object import JsonObject
from tfx_jax.errors import UserError
from tfx_jax.pretrained.weights import Entry, Tensors

# A section of our configuration, or a config.json.
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
  """A family of models in Hugging Face folders.

  Attributes:
    architecture: its class in transformers, as named in config.json.
    read_settings: function of config.json that returns values of the section `model`.
    write_settings: function of the section `model` that returns values of config.json.
    entries: function of the section `model` and the number of tokens that returns the tensors of
      the model and the parameters that they correspond to.
    ignored: regular expressions of tensor names that are redundant, such as tied weights.
  """

  architecture: str
  read_settings: Callable[["Foreign"], Settings]
  write_settings: Callable[[Settings], Settings]
  entries: Callable[[Settings, int], Iterable[Entry]]
  ignored: Sequence[str] = ()


class Foreign:
  """A config.json, read setting by setting.

  Args:
    values: contents of the file.
    origin: path of the file, for errors.
    tensors: tensors of the folder by name.
  """

  def __init__(self, values: JsonObject, origin: str, tensors: Tensors):
    self._values, self.origin, self.tensors = values, origin, tensors

  def __call__(self, name: str, default: Any = None) -> Any:
    """Returns the value of a setting, which is required if there is no default.

    Raises:
      UserError: if it is missing.
    """
    value = self.get(name, default)
    if value is None:
      raise UserError(f"{self.origin} lacks '{name}'")
    return value

  def get(self, name: str, default: Any = None) -> Any:
    """Returns the value of an optional setting; null means the default, as in transformers."""
    value = self._values.get(name)
    return default if value is None else value

  def expect(self, **values: Any) -> None:
    """Checks that settings have the only supported value, or are missing.

    Raises:
      UserError: naming the first setting with another value.
    """
    for name, value in values.items():
      if self.get(name, value) != value:
        raise UserError(
          f"{self.origin}: {name}={self._values[name]!r} is not supported, only {value!r}"
        )

  def choice(self, name: str, choices: Mapping[str, str]) -> str:
    """Returns our name of a setting's value.

    Raises:
      UserError: if the value is not one of the choices.
    """
    value = self(name)
    if value not in choices:
      raise UserError(
        f"{self.origin}: {name}={value!r} is not supported, only {', '.join(choices)}"
      )
    return choices[value]


def foreign_activation(name: str) -> str:
  """Returns transformers' name of one of our activations."""
  return {"gelu_tanh": "gelu_new", "silu": "silu"}.get(name, name)
