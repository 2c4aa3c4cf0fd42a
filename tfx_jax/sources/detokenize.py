"""English that was split into words by spaces, written as people write it."""

import re

# Spaces and line ends. Others stay: no-break spaces, and U+0085, which may be a misread ellipsis.
_BLANKS = r"[ \t\r\n]+"
# Applied in this order: a pattern and what takes its place.
_RULES = tuple(
  (re.compile(pattern), replacement)
  for pattern, replacement in (
    (r"[\u2018\u2019\u00b4`]", "'"),
    (r"[\u201c\u201d]", '"'),
    # don ' t, I 'll, it' s
    (r"(?<=\w) ?' ?((?i:s|t|m|d|re|ve|ll|clock))\b", r"'\1"),
    # I'Ve, as some corpora have it
    (r"(?<=\w)'(Re|Ve|Ll)\b", lambda found: found[0].lower()),
    # hello , you (5 % ) but not: is .5
    (_BLANKS + r"(?=[.,!?;:%)\]](?!\d))", ""),
    (rf"(?<=[(\[]){_BLANKS}|(?<=\$){_BLANKS}(?=\d)", ""),
    # him.Will you, well,I
    (r"(?<=[a-z])([.!?])(?=[A-Z][a-z]|I\b)", r"\1 "),
    (r"(?<=[A-Za-z]),(?=[A-Za-z])", ", "),
    (_BLANKS, " "),
  )
)
_QUOTED = re.compile(r'" ?([^"]*?) ?"')


def detokenize(text: str) -> str:
  """The text without spaces around punctuation and apostrophes, and with plain quotation marks.

  For English. What is written that way already stays as it is, and so do hyphens with spaces: they
  may be dashes.
  """
  for pattern, replacement in _RULES:
    text = pattern.sub(replacement, text)
  if text.count('"') % 2 == 0:
    text = _QUOTED.sub(r'"\1"', text)
  return text.strip(" \t\r\n")
