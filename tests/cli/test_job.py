from tfx_jax.cli.job import run_name


def test_the_workdir_is_named_by_the_experiment():
  assert run_name("experiments/wmt.py:big") == "wmt-big"
  assert run_name("wmt.py") == "wmt"
