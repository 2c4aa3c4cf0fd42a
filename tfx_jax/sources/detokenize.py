"""Detokenization: English text whose words and punctuation were separated by spaces."""

import re

# Spaces and line ends. Others stay: no-break spaces, and U+0085, which may be a misread ellipsis.
_BLANKS = r"[ \t\r\n]+"
# Applied in this order: a pattern and its replacement.
_RULES = tuple(
  (re.compile(pattern), replacement)
  for pattern, replacement in (
    (r"[\u2018\u2019\u00b4`]", "'"),
    (r"[\u201c\u201d]", '"'),
    # don ' t, I 'll, it' s
    (r"(?<=\w) ?' ?((?i:s|t|m|d|re|ve|ll|clock))\b", r"'\1"),
    # I'Ve, as in some corpora
    (r"(?<=\w)'(Re|Ve|Ll)\b", lambda match: match[0].lower()),
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
  """Returns an English text without spaces around punctuation, with plain quotation marks.

  Text that is written that way already does not change, nor do hyphens between spaces, which may be
  dashes.
  """
  for pattern, replacement in _RULES:
    text = pattern.sub(replacement, text)
  if text.count('"') % 2 == 0:
    text = _QUOTED.sub(r'"\1"', text)
  return text.strip(" \t\r\n")
