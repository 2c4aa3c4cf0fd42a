"""Characters that a tokenizer does not know."""

from collections.abc import Sequence

from tfx_jax.codecs.text.tokenizer import Tokenizer

_SHOWN = 20  # characters


def unknown_characters(tokenizer: Tokenizer, texts: Sequence[str]) -> list[str]:
  """Returns for each text its characters that become the unknown token, each only once.

  If the tokenizer knows all characters of a text by themselves, but not their combination, the
  whole text counts.
  """
  unk = tokenizer.special_tokens.unk
  known: dict[str, bool] = {}
  found = []
  for text, ids in zip(texts, tokenizer.encode(texts), strict=True):
    if unk is None or unk not in ids:
      found.append("")
      continue
    characters = list(dict.fromkeys(text))
    new = [character for character in characters if character not in known]
    known |= {c: unk not in i for c, i in zip(new, tokenizer.encode(new), strict=True)}
    found.append("".join(c for c in characters if not known[c]) or "".join(characters))
  return found


def describe_unknown(tokenizer: Tokenizer, texts: Sequence[str]) -> str:
  """Returns a line that counts the texts with unknown characters; '' if there are none."""
  found = [characters for characters in unknown_characters(tokenizer, texts) if characters]
  if not found:
    return ""
  distinct = list(dict.fromkeys("".join(found)))
  shown = " ".join(c if c.isprintable() else ascii(c)[1:-1] for c in distinct[:_SHOWN])
  more = f" and {len(distinct) - _SHOWN} more" if len(distinct) > _SHOWN else ""
  verb = "holds" if len(found) == 1 else "hold"
  return (
    f"{len(found)} of {len(texts)} inputs {verb} characters that the tokenizer does not know: "
    f"{shown}{more}"
  )
