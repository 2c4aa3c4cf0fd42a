"""mBART (Liu et al. 2020, arXiv:2001.08210) and mBART-50: BART with norms before each layer."""

from tfx_jax.pretrained import bart
from tfx_jax.pretrained.family import Family, Foreign, Settings

_NORMS = {"normalize_before": True, "normalize_embedding": True, "add_final_layer_norm": True}


def _read(config: Foreign) -> Settings:
  config.expect(**_NORMS)
  return bart.read_settings(config) | {
    "norm_placement": "pre",
    "position": "learned",
    "embedding_norm": True,
  }


def _write(model: Settings) -> Settings:
  return bart.write_settings(model) | _NORMS | {"model_type": "mbart"}


MBART = Family("MBartForConditionalGeneration", _read, _write, bart.entries, bart.IGNORED)
