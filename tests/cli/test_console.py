from tfx_jax.cli.console import listing, table


def test_a_table_is_markdown_that_is_aligned():
  assert table(["a|b", "score"], [["one", "1.5"], ["three", "22"]]).split("\n") == [
    "| a\\|b  | score |",
    "| ----- | ----: |",
    "| one   |   1.5 |",
    "| three |    22 |",
  ]


def test_a_listing_is_aligned_and_rounds_fractions():
  assert listing({"step": 12, "bleu": 1.23456}) == "step  12\nbleu  1.2346"
