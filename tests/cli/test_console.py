from tfx_jax.cli.console import listing, table, texts_progress


def test_a_table_is_markdown_that_is_aligned():
  assert table(["a|b", "score"], [["one", "1.5"], ["three", "22"]]).split("\n") == [
    "| a\\|b  | score |",
    "| ----- | ----: |",
    "| one   |   1.5 |",
    "| three |    22 |",
  ]


def test_a_listing_is_aligned_and_rounds_fractions():
  assert listing({"step": 12, "bleu": 1.23456}) == "step  12\nbleu  1.2346"


def test_work_on_texts_says_what_it_does_where_there_is_no_terminal(capsys):
  with texts_progress(12, "generating") as add:
    assert capsys.readouterr().err.startswith("generating: 12 texts; ")
    add(8)
    add(4)
  out, err = capsys.readouterr()
  assert out == "" and err == "100% 12/12 [00:00<00:00]\n"
