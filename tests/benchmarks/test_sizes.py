import pytest
import sizes


@pytest.mark.parametrize("size", sizes.SIZES)
def test_every_size_is_a_valid_configuration_with_plain_adamw(size):
  config = sizes.make_config(size, "float32", ["--config.train.num_steps=7"])
  assert config.optimizer.name == "adamw" and config.optimizer.settings.to_dict() == {}
  assert config.train.num_steps == 7
  shape = sizes.shape_of(config, 100)
  assert (shape.decoder_layers, shape.features, shape.num_heads, shape.feed_forward) == (
    sizes.SIZES[size]
  )
