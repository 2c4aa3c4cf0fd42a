from tfx_jax.data.example import Example
from tfx_jax.tasks.text import CONTINUATION, PROMPT, Text


def test_a_text_is_only_written():
  task = Text("body")
  assert task.fields("train") == ("body",) and not task.has_source
  assert [*task.examples({"body": "abc", "more": "d"})] == [Example(None, "abc")]
  assert task.identity != Text("other").identity
  assert task.score(["a"], []) == task.corpus_metrics() == {}


def test_eval_examples_are_beginnings_throughout_a_text():
  text = "".join(chr(i) for i in range(1000, 1000 + 3 * (PROMPT + CONTINUATION) + PROMPT + 10))
  eval_examples = [*Text("t").eval_examples({"t": text})]
  assert "".join(example.source + example.target for example in eval_examples) == text
  assert [len(example.source) for example in eval_examples] == [PROMPT] * 4
  assert [*Text("t").eval_examples({"t": "short"})] == [Example("sh", "ort")]


def test_texts_are_alike_that_have_the_same_letters():
  assert [*Text("t").overlap_keys({"t": "A b!"})] == ["ab"]
