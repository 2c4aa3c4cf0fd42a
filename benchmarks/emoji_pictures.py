"""Makes folders of emoji with names in two languages, for `experiments/emoji.py`.

Pictures are those of https://github.com/googlefonts/noto-emoji, folder png/32; names are those of
Unicode CLDR, as the package `emoji` has them (`pip install emoji`):

  python benchmarks/emoji_pictures.py --pictures=noto-emoji/png/32 --output=data/emoji

OUTPUT/train, OUTPUT/validation and OUTPUT/test have pictures and a metadata.jsonl, with a line for
each name: `text` in one of the languages, and `names` in both. Of the pairs of a base and a skin
tone, such as "waving hand" and "dark", a fifth are in test and a twentieth in validation; of each
base some tones are in training.
"""

import argparse
import collections
import hashlib
import json
import os
import re
import shutil

LANGUAGES = ("en", "de")
TONES = ("light", "medium-light", "medium", "medium-dark", "dark")
TONE = re.compile(rf" ({'|'.join(sorted(TONES, key=len, reverse=True))}) skin tone")
# Shares of the pairs of a base and a tone.
TEST, VALIDATION = 0.2, 0.05


def base_and_tone(name: str) -> tuple[str, str]:
  """Returns an English name without skin tones, and the skin tones, '' for none."""
  return TONE.sub("", name), ", ".join(TONE.findall(name))


def splits(names: list[str]) -> list[str]:
  """Returns the split of each English name."""
  tones = collections.defaultdict(list)
  for number, name in enumerate(names):
    base, tone = base_and_tone(name)
    if tone:
      tones[base].append(number)
  found = ["train"] * len(names)
  for numbers in tones.values():
    # In an order that depends on the names alone; at least half of the tones are left.
    numbers.sort(key=lambda number: hashlib.blake2b(names[number].encode()).digest())
    for number in numbers[: len(numbers) // 2]:
      share = int.from_bytes(hashlib.blake2b(names[number].encode()).digest()[:8]) / 2**64
      found[number] = (
        "test" if share < TEST else "validation" if share < TEST + VALIDATION else "train"
      )
  return found


def main() -> None:
  import emoji

  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--pictures", required=True, help="folder of emoji_uCODEPOINTS.png")
  parser.add_argument("--output", required=True, help="folder to make")
  arguments = parser.parse_args()
  for language in LANGUAGES[1:]:
    emoji.config.load_language(language)
  known: dict[str, list[str]] = {}  # of several spellings of an emoji, one
  for symbol, data in emoji.EMOJI_DATA.items():
    points = "_".join(f"{ord(c):04x}" for c in symbol if c != "\N{VARIATION SELECTOR-16}")
    path = os.path.join(arguments.pictures, f"emoji_u{points}.png")
    if os.path.exists(path) and all(language in data for language in LANGUAGES):
      known[path] = [data[language].strip(":").replace("_", " ") for language in LANGUAGES]
  lines = collections.defaultdict(list)
  english = [texts[0] for texts in known.values()]
  for split, (path, texts) in zip(splits(english), known.items(), strict=True):
    folder = os.path.join(arguments.output, split)
    os.makedirs(folder, exist_ok=True)
    shutil.copy(path, folder)
    shared = {"file_name": os.path.basename(path), "names": " = ".join(texts)}
    lines[split] += [json.dumps(shared | {"text": text}, ensure_ascii=False) for text in texts]
  for split, rows in lines.items():
    with open(os.path.join(arguments.output, split, "metadata.jsonl"), "w") as file:
      file.write("\n".join(rows) + "\n")
    print(f"{split}: {len(rows) // len(LANGUAGES)} pictures")


if __name__ == "__main__":
  main()
