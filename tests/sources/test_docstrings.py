import warnings

import pytest

from tfx_jax.sources.docstrings import MOST_CHARACTERS, docstring_pairs, split_docstring

LONG = "Twelve words are needed here, or else a docstring is left out entirely, as said."


@pytest.mark.parametrize(
  ("text", "summary", "body"),
  [
    ("Do it\n  now.\n\nOr later.\n", "Do it now.", "Or later."),
    ("Do it.", "Do it.", ""),
    ("f(x, y=None) -> int\n\nAdd :func:`~a.b` to ``x``.\n\nSee `here <http://a.b>`_.",
     "Add a.b to x.", "See here <http://a.b>."),
    ("A :class:`Foo <a.b.Foo>`.\n\n* :meth:`run`", "A Foo.", "* run"),
    ("Parameters\n----------\nx : int\n\nMore.", "", "More."),
    (">>> not a summary\n\nMore.", "", "More."),
  ],
)  # fmt: skip
def test_the_first_paragraph_is_the_summary(text, summary, body):
  assert split_docstring(text) == (summary, body)


@pytest.mark.parametrize(
  ("left_out", "kept"),
  [
    (">>> f(1)\n2\n... and\n3", ""),
    ("Examples\n--------\n>>> f(1)\n2", ""),
    ("=====  =====\na      b\n=====  =====", "a      b"),
    (".. note:: this\n   and this\n\n   and that", ""),
    (".. note:: this\n   and this\nbut not that", "but not that"),
    ("    .. code:: python\n\n      x = 1\n    Deep.", "    Deep."),
    ("```pycon\nx = 1\n\ny = 2\n```\nAfter.", "After."),
    ("Args:\n  x: a number.", "Args:\n  x: a number."),
    ("In a way::\n\n    x", "In a way:\n    x"),
  ],
)
def test_examples_tables_and_directives_are_left_out(left_out, kept):
  found = split_docstring(f"Do.\n\nBefore.\n\n{left_out}\n\nLast.")[1].split("\n")
  assert found == ["Before.", *kept.splitlines(), "Last."]


@pytest.mark.parametrize("odd", ["\x0c", "\x85", "\u2028"])
def test_only_a_line_feed_ends_a_line(odd):
  assert split_docstring(f"Do.\n\nBefore{odd}>>> all of it\nafter.")[1] == (
    f"Before{odd}>>> all of it\nafter."
  )


def test_modules_classes_and_functions_are_told_with_their_signatures():
  document = f'"""Say what it is.\n\n{LONG} NUMBER\n"""'
  source = f"""
class A(B):
  {document.replace("NUMBER", "1")}
  async def f(self, a, /, b=1, *c, d: int = 2, **e) -> str:
    {document.replace("NUMBER", "2")}
    def g(*, h):
      {document.replace("NUMBER", "3")}
  def no_docstring(): pass
"""
  expected = ["class A", "def f(self, a, b, *c, d, **e)", "def g(*, h)"]
  found = list(docstring_pairs(source))
  assert [body for body, _ in found] == [f"{e}\n{LONG} {i}" for i, e in enumerate(expected, 1)]
  assert {summary for _, summary in found} == {"Say what it is."}
  assert list(docstring_pairs(document)) == [(f"{LONG} NUMBER", "Say what it is.")]


@pytest.mark.parametrize(
  "text",
  [
    "Too short.\n\n" + LONG,
    "Much too long " * 11 + "\n\n" + LONG,
    "There is too little of this.\n\nIndeed.",
    "There is only this one paragraph that says it all, in many words, and nothing more.",
    "",
  ],
)
def test_too_little_of_either_is_no_pair(text):
  assert not list(docstring_pairs(f'"""{text}"""'))


def test_a_long_description_is_cut():
  ((body, _),) = docstring_pairs(f'"""Say what it is.\n\n{"many words " * 500}\n"""')
  assert len(body) == MOST_CHARACTERS


def test_sources_of_others_warn_nobody():
  with warnings.catch_warnings(record=True) as caught:
    list(docstring_pairs('x = "\\d" is 3'))
  assert not caught
