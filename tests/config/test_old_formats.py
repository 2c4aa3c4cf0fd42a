"""Texts that stood for structured values in config.json of format 1."""

import pytest

from tfx_jax.config.old_formats import from_format_1

# As version 0.1 wrote them, other keys left out.
RECORDED = {
  "seed": 0,
  "model": {
    "features": 512,
    "rotary_scaling": "llama3 8 1 4 8192",
    "windows": "0 0 4096",
  },
  "optimizer": {
    "name": "muon",
    "settings": ["consistent_rms=0.2"],
    "groups": ["embedding weight_decay=0", "encoder scale=0.5 b1=0.8"],
  },
  "lora": {"rank": 4, "targets": ["attention/(query|value)", "mlp/up 0-3"]},
}
TODAY = {
  "seed": 0,
  "model": {
    "features": 512,
    "rotary_scaling": ("llama3", 8, 1, 4, 8192),
    "windows": (0, 0, 4096),
  },
  "optimizer": {
    "name": "muon",
    "settings": {"consistent_rms": 0.2},
    "groups": (("embedding", {"weight_decay": 0}), ("encoder", {"scale": 0.5, "b1": 0.8})),
  },
  "lora": {"rank": 4, "targets": ("attention/(query|value)", ("mlp/up", (0, 3)))},
}


def test_texts_become_values():
  assert from_format_1(RECORDED) == TODAY


def test_what_is_not_set_stays_unset():
  unset = {"model": {"windows": "", "rotary_scaling": ""}, "optimizer": {"settings": []}}
  assert from_format_1(unset) == {
    "model": {"windows": (), "rotary_scaling": ()},
    "optimizer": {"settings": {}},
  }
  assert from_format_1({"seed": 5, "model": 3}) == {"seed": 5, "model": 3}


@pytest.mark.parametrize(
  ("key", "value"),
  [
    ("model.windows", "0 x"),
    ("model.windows", [0, 1]),
    ("model.rotary_scaling", "linear two"),
    ("optimizer.settings", ["consistent_rms"]),
    ("optimizer.groups", [""]),
    ("lora.targets", ["mlp 3"]),
  ],
)
def test_a_text_that_means_nothing_is_named(key, value):
  section, name = key.split(".")
  with pytest.raises(ValueError, match=key):
    from_format_1({section: {name: value}})
