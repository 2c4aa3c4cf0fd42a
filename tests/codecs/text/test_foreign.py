import json

import pytest

from tfx_jax.codecs.special_tokens import DEFAULT, SpecialTokens
from tfx_jax.codecs.text.foreign import HuggingFaceTokenizer
from tfx_jax.codecs.text.loading import load_tokenizer

SPECIAL_TOKENS = SpecialTokens(1, None, 2, 0, prefix=(3,), source_suffix=(1,), other_eos=(4,))
PIECES = ("<pad>", "</s>", "<unk>", "en", "<end>", "a", "b")


@pytest.fixture
def tokenizer():
  tokenizers = pytest.importorskip("tokenizers")
  vocabulary = {piece: i for i, piece in enumerate(PIECES)}
  content = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
  content.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
  return HuggingFaceTokenizer(content.to_str(), SPECIAL_TOKENS, len(PIECES))


def test_special_tokens_come_back(tokenizer, tmp_path):
  tokenizer.save(str(tmp_path))
  loaded = load_tokenizer(str(tmp_path))
  assert loaded.special_tokens == SPECIAL_TOKENS
  assert loaded.encode(["a b", "b"]) == [[5, 6], [6]]


def test_a_masked_token_is_bos_or_without_one_eos():
  assert (DEFAULT.mask, SPECIAL_TOKENS.mask) == (DEFAULT.bos, SPECIAL_TOKENS.eos)


def test_special_tokens_saved_by_earlier_versions_are_read(tokenizer, tmp_path):
  tokenizer.save(str(tmp_path))
  spec = json.loads((tmp_path / "tokenizer.json").read_text())
  new = spec.pop("special_tokens")
  names = {"prefix": "before", "source_suffix": "after", "other_eos": "other_ends"}
  spec["marks"] = {names.get(name, name): value for name, value in new.items()}
  (tmp_path / "tokenizer.json").write_text(json.dumps(spec))
  assert load_tokenizer(str(tmp_path)).special_tokens == SPECIAL_TOKENS
