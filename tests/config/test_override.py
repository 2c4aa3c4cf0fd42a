import pytest
from ml_collections import ConfigDict

from tfx_jax.config import base
from tfx_jax.config.override import override
from tfx_jax.errors import UserError


def failure(function, *args):
  with pytest.raises(UserError) as info:
    function(*args)
  assert "\n" not in str(info.value)
  return str(info.value)


@pytest.mark.parametrize(
  ("key", "text", "value"),
  [
    ("train.num_steps", "12", 12),
    ("train.num_steps", "1e3", 1000),
    ("train.num_steps", "1_000", 1000),
    ("mesh.data", "-1", -1),
    ("seed", "7", 7),
    ("model.dropout", "0.25", 0.25),
    ("model.dropout", "0", 0.0),
    ("optimizer.eps", "1e-6", 1e-6),
    ("model.gated", "True", True),
    ("model.gated", "true", True),
    ("model.use_bias", "false", False),
    ("data.train", "my/train", "my/train"),
    ("data.train", "5", "5"),
    ("data.train", "", ""),
    ("task.metrics", "bleu", ("bleu",)),
    ("task.metrics", "bleu, my.metrics:f", ("bleu", "my.metrics:f")),
    ("task.metrics", "('bleu',)", ("bleu",)),
    ("task.metrics", "['bleu', 'chrf']", ("bleu", "chrf")),
    ("task.metrics", "(bleu, my.metrics:f)", ("bleu", "my.metrics:f")),
    ("task.metrics", "[bleu]", ("bleu",)),
    ("task.metrics", "()", ()),
    ("task.metrics", "", ()),
    ("generate.stop", " \u2028 ,\xa0", ("\u2028", "\xa0")),
  ],
)
def test_an_override_is_read_by_the_type_of_its_key(key, text, value):
  config = base()
  override(config, key, text)
  *section, name = key.split(".")
  found = config[section[0]][name] if section else config[name]
  assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
  ("key", "text", "told"),
  [
    ("train.num_steps", "many", "train.num_steps=many is not of type int"),
    ("train.num_steps", "1.5", "train.num_steps=1.5 is not of type int"),
    ("train.num_steps", "True", "train.num_steps=True is not of type int"),
    ("train.num_steps", "", "train.num_steps= is not of type int"),
    ("model.dropout", "nan", "model.dropout=nan is not of type float"),
    ("model.dropout", "True", "model.dropout=True is not of type float"),
    ("model.gated", "1", "model.gated=1 is not of type bool"),
    ("task.metrics", "('bleu'", "task.metrics=('bleu' is not of type tuple"),
    ("task.metrics", "(bleu", "task.metrics=(bleu is not of type tuple"),
    ("task.metrics", "('bleu')", "task.metrics=('bleu') is not of type tuple"),
    ("train.num_step", "5", "config.train has no key 'num_step', did you mean 'num_steps'?"),
    ("trian.num_steps", "5", "config has no key 'trian', did you mean 'train'?"),
    ("train.num_steps.x", "5", "config.train.num_steps has no key 'x'"),
    ("num_steps", "5", "config has no key 'num_steps'"),
    ("mesh", "5", "--config.mesh is a section; its keys are data, fsdp, sequence, slices, tensor"),
  ],
)
def test_an_override_that_means_nothing_is_one_line_and_changes_nothing(key, text, told):
  config = base()
  message = failure(override, config, key, text)
  assert message.startswith(f"--config.{key}") and told in message
  assert config.to_dict() == base().to_dict()


def structured():
  """Keys with structured values, by themselves."""
  return ConfigDict(
    {
      "model": {"windows": (), "rotary_scaling": ()},
      "optimizer": {"settings": {}, "groups": ()},
      "lora": {"targets": ("attention",)},
    }
  ).lock()


@pytest.mark.parametrize(
  ("key", "text", "value"),
  [
    ("model.windows", "(0, 0, 4096)", (0, 0, 4096)),
    ("model.windows", "0,4096", (0, 4096)),
    ("model.windows", "[4096]", (4096,)),
    ("model.windows", "4096", (4096,)),
    ("model.windows", "()", ()),
    ("model.windows", "", ()),
    ("model.rotary_scaling", "('llama3', 8.0, 1, 4, 8192)", ("llama3", 8.0, 1, 4, 8192)),
    ("model.rotary_scaling", "linear, 2.0", ("linear", 2.0)),
    ("optimizer.settings", "{'consistent_rms': 0.2}", {"consistent_rms": 0.2}),
    ("optimizer.settings", "{}", {}),
    ("optimizer.groups", "[('encoder', {'scale': 0.5})]", (("encoder", {"scale": 0.5}),)),
    ("lora.targets", "(('mlp', [0, 3]), 'attention')", (("mlp", (0, 3)), "attention")),
    ("lora.targets", "attention/(query|value)", ("attention/(query|value)",)),
  ],
)
def test_a_structured_value_is_a_literal_and_names_need_no_quotes(key, text, value):
  config = structured()
  override(config, key, text)
  section, name = key.split(".")
  assert config.to_dict()[section][name] == value


@pytest.mark.parametrize(
  ("key", "text"),
  [
    ("model.windows", "(0, 4096"),
    ("model.windows", "{'a'"),
    ("optimizer.settings", "consistent_rms=0.2"),
    ("optimizer.settings", "('consistent_rms', 0.2)"),
    ("optimizer.settings", "{1: 0.2}"),
  ],
)
def test_a_structured_value_that_is_none_is_one_line_and_changes_nothing(key, text):
  config = structured()
  assert failure(override, config, key, text).startswith(f"--config.{key}={text}: use a ")
  assert config.to_dict() == structured().to_dict()
