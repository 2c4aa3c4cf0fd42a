"""Judges runs of `experiments/emoji.py` on pairs of a base and a skin tone that are in the test.

  python benchmarks/emoji_pairs.py --data=data/emoji --draw=runs/emoji-draw \
      --describe=runs/emoji-describe

For `draw`, the nearest of all true pictures by pixels (sum of squares) to each drawn one is found,
for every name in every language; bases and skin tones of the two are compared. For `describe`,
names in each language must be exactly right. Prints a JSON line for each; `floor` is the share that
copying the picture or names of the most similar training name or picture gets right, and for `draw`
`true` is the share of true pictures, `coded` of those that went through the codec.
"""

import argparse
import difflib
import json
import os
from collections.abc import Sequence

import numpy as np
from emoji_pictures import base_and_tone
from tqdm import tqdm

import tfx_jax
from tfx_jax.common.picture_files import fit, read_picture

SPLITS = ("train", "validation", "test")


def records(folder: str, split: str) -> list[dict[str, str]]:
  with open(os.path.join(folder, split, "metadata.jsonl")) as file:
    lines = [json.loads(line) for line in file]
  return [line | {"path": os.path.join(folder, split, line["file_name"])} for line in lines]


def pixels(paths: Sequence[str]) -> np.ndarray:
  """Returns pictures on white, float32 [N,32*32*3]."""
  pictures = [fit(read_picture(path), (32, 32, 3), "exact", path) for path in paths]
  return np.array(pictures, np.float32).reshape(len(paths), -1)


def nearest(values: np.ndarray, others: np.ndarray) -> np.ndarray:
  """Returns the number of the nearest other of each value: [N,D], [K,D] -> [N]."""
  return ((others**2).sum(axis=1) - 2 * values @ others.T).argmin(axis=1)


def shares(found: Sequence[str], true: Sequence[str]) -> dict[str, float]:
  """Returns shares of English names with the right base, tone, and both, in percent."""
  pairs = [(base_and_tone(a), base_and_tone(b)) for a, b in zip(found, true, strict=True)]
  hits = np.array([(a[0] == b[0], a[1] == b[1], a == b) for a, b in pairs])
  return dict(
    zip(("base", "tone", "both"), (100 * hits.mean(axis=0)).round(2).tolist(), strict=True)
  )


def english(record: dict[str, str]) -> str:
  return record["names"].split(" = ")[0]


def judge_draw(folder: str, workdir: str) -> None:
  everything = {r["path"]: english(r) for split in SPLITS for r in records(folder, split)}
  candidates, names = pixels(list(everything)), list(everything.values())
  test, train = records(folder, "test"), records(folder, "train")
  run = tfx_jax.load(workdir)
  drawn = [best.value for (best, *_) in run.generate([record["text"] for record in test])]
  codec, pictures = run.codecs[1], pixels([record["path"] for record in test])
  shape = (-1, *drawn[0].shape)
  coded = codec.decode(codec.encode([*pictures.reshape(shape).astype(np.uint8)]))
  found, true_found, coded_found = (
    [names[i] for i in nearest(np.array(each, np.float32).reshape(len(test), -1), candidates)]
    for each in (drawn, pictures, coded)
  )
  known = {record["text"]: record["path"] for record in train}
  close = [
    difflib.get_close_matches(record["text"], known, n=1, cutoff=0.0)[0]
    for record in tqdm(test, "names of training")
  ]
  copied = [everything[known[text]] for text in close]
  true = [english(record) for record in test]
  for language, start in (("en", 0), ("de", 1)):
    part = slice(start, None, 2)
    figures = {"task": "draw", "language": language, "pictures": len(true[part])}
    figures |= shares(found[part], true[part])
    others = {"floor": copied, "true": true_found, "coded": coded_found}
    figures |= {name: shares(each[part], true[part]) for name, each in others.items()}
    print(json.dumps(figures), flush=True)


def judge_describe(folder: str, workdir: str) -> None:
  test = list({record["path"]: record for record in records(folder, "test")}.values())
  train = list({record["path"]: record for record in records(folder, "train")}.values())
  run = tfx_jax.load(workdir)
  paths = [record["path"] for record in test]
  outputs = [best.text.split(" = ") for (best, *_) in run.generate(paths)]
  copied = nearest(pixels(paths), pixels([record["path"] for record in train]))
  for number, language in enumerate(("en", "de")):
    true = [record["names"].split(" = ")[number] for record in test]
    hits = [len(o) > number and o[number] == t for o, t in zip(outputs, true, strict=True)]
    floor = [train[i]["names"].split(" = ")[number] == t for i, t in zip(copied, true, strict=True)]
    figures = {"task": "describe", "language": language, "pictures": len(true)}
    figures |= {"exact": round(100 * float(np.mean(hits)), 2)}
    print(json.dumps(figures | {"floor": round(100 * float(np.mean(floor)), 2)}), flush=True)


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--data", default="data/emoji")
  parser.add_argument("--draw", default="", help="workdir of emoji:draw")
  parser.add_argument("--describe", default="", help="workdir of emoji:describe")
  arguments = parser.parse_args()
  if arguments.draw:
    judge_draw(arguments.data, arguments.draw)
  if arguments.describe:
    judge_describe(arguments.data, arguments.describe)


if __name__ == "__main__":
  main()
