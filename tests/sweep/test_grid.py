import pytest
from support.tiny_run import make_config

from tfx_jax.errors import UserError
from tfx_jax.sweep.grid import make_grid, split_values


@pytest.mark.parametrize(
  ("text", "values"),
  [
    ("1", ["1"]),
    ("1, 2,3", ["1", "2", "3"]),
    ("(a,b),c,[d,e]", ["(a,b)", "c", "[d,e]"]),
    ("((a,b),c),d", ["((a,b),c)", "d"]),
    ("{'b1': 0.5, 'b2': 0.9},{}", ["{'b1': 0.5, 'b2': 0.9}", "{}"]),
    ("a,,b", ["a", "", "b"]),
    ("", [""]),
  ],
)
def test_commas_inside_brackets_do_not_split(text, values):
  assert split_values(text) == values


def test_every_combination_in_order():
  config = make_config()
  sweeps = [("optimizer.learning_rate", "1e-3,0.1"), ("model.gated", "true,False"), ("seed", "7")]
  cells = make_grid(config, sweeps)
  assert [cell.name for cell in cells] == [
    "optimizer.learning_rate=1e-3,model.gated=true,seed=7",
    "optimizer.learning_rate=1e-3,model.gated=False,seed=7",
    "optimizer.learning_rate=0.1,model.gated=true,seed=7",
    "optimizer.learning_rate=0.1,model.gated=False,seed=7",
  ]
  found = [(c.config.optimizer.learning_rate, c.config.model.gated, c.config.seed) for c in cells]
  assert found == [(1e-3, True, 7), (1e-3, False, 7), (0.1, True, 7), (0.1, False, 7)]
  assert config == make_config() and cells[0].config.is_locked
  assert cells[0].config.model.features == config.model.features


def test_tuples_are_written_in_brackets():
  cells = make_grid(make_config(), [("task.metrics", "(bleu,chrf),chrf,('exact_match',)")])
  found = [cell.config.task.metrics for cell in cells]
  assert found == [("bleu", "chrf"), ("chrf",), ("exact_match",)]


def test_a_name_is_one_folder_and_no_two_share_it():
  cells = make_grid(make_config(), [("data.train", "a/b,a%2Fb")])
  assert [cell.name for cell in cells] == ["data.train=a%2Fb", "data.train=a%252Fb"]


@pytest.mark.parametrize(
  ("sweeps", "told"),
  [
    ([], "--mode=sweep needs --sweep.KEY="),
    ([("model.featurs", "1,2")], "--sweep.model.featurs: config.model has no key 'featurs', did"),
    ([("model", "1,2")], "--sweep.model is a section"),
    ([("model.features", "")], "--sweep.model.features=: a value is missing"),
    ([("model.features", "8,,16")], "--sweep.model.features=8,,16: a value is missing"),
    ([("model.features", "8,x")], "--sweep.model.features=x is not of type int"),
    ([("model.dropout", "0.1,1e-1")], "--sweep.model.dropout=0.1,1e-1: 1e-1 is given twice"),
    ([("seed", "1"), ("seed", "2")], "--sweep.seed is given twice"),
    ([("train.num_steps", "1,2")], "--sweep.train.num_steps and --config.train.num_steps are both"),
    ([("data.train", "x" * 250)], "is too long: sweep over fewer keys"),
  ],
)
def test_what_makes_no_sense_is_one_line(sweeps, told):
  with pytest.raises(UserError) as error:
    make_grid(make_config(), sweeps, fixed=["train.num_steps"])
  assert told in str(error.value) and "\n" not in str(error.value)
