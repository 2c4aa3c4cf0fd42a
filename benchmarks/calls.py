"""Opens a system that generates from texts, and calls it with files; the seconds of each.

    python benchmarks/calls.py PACKAGE.MODULE:FUNCTION JSON OUTPUT INPUT…

The function returns `translate` and facts, see `systems/trained.py`; JSON has its arguments. Prints
a line of JSON, {"seconds": [of opening with its imports, of each call]}, and writes the outputs of
the last call to OUTPUT. `MARK` on standard error separates the messages of these steps.
"""

import json
import pkgutil
import sys
import time

from systems.trained import read_lines

MARK = "== end of a step =="


def main(opener: str, arguments: str, output: str, *inputs: str) -> None:
  seconds, begin = [], time.perf_counter()

  def done() -> None:
    nonlocal begin
    seconds.append(time.perf_counter() - begin)
    print(MARK, file=sys.stderr, flush=True)
    begin = time.perf_counter()

  translate, _ = pkgutil.resolve_name(opener)(**json.loads(arguments))
  done()
  outputs = []
  for path in inputs:
    outputs = translate(read_lines(path))
    done()
  with open(output, "w", encoding="utf-8") as file:
    file.writelines(" ".join(text.splitlines()) + "\n" for text, _ in outputs)
  print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
  main(*sys.argv[1:])
