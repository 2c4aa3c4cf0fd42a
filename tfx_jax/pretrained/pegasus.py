"""Pegasus (Zhang et al. 2020, arXiv:1912.08777): mBART, sinusoidal and without embedding norm."""

from tfx_jax.pretrained import bart
from tfx_jax.pretrained.family import Family, Foreign, Settings

_NORMS = {"normalize_before": True, "normalize_embedding": False, "add_final_layer_norm": True}


def _read(config: Foreign) -> Settings:
  config.expect(**_NORMS)
  return bart.read_settings(config) | {
    "norm_placement": "pre",
    "position": "sinusoidal",
    "embedding_norm": False,
  }


def _write(model: Settings) -> Settings:
  return bart.write_settings(model) | _NORMS | {"model_type": "pegasus"}


PEGASUS = Family(
  "PegasusForConditionalGeneration",
  _read,
  _write,
  bart.entries,
  (*bart.IGNORED, r"model\.(encoder|decoder)\.embed_positions\.weight"),
)
