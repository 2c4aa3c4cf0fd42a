import pytest

from tfx_jax.config.experiment import read_experiment
from tfx_jax.run.exported_form import exported_form


@pytest.mark.parametrize(
  ("experiment", "form"),
  [
    ("quickstart", "PegasusForConditionalGeneration"),
    ("dialogsum", "transformers has no such model: the most similar is "),
  ],
)
def test_the_form_is_known_before_training(experiment, form):
  told = exported_form(read_experiment(experiment))
  assert told.startswith(form) and "\n" not in told
  assert ("model.copy_head" in told) == (experiment == "dialogsum")
