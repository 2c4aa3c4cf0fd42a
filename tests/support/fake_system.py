"""Systems for `rounds.py`, found by way of PYTHONPATH."""

import os
import time


def make(begin, log=""):
  print("this is no answer")
  places = sorted(os.sched_getaffinity(0))

  def run(number):
    with open(log, "a") as file:
      file.write(f"{begin} {number} begins\n")
      file.flush()
      time.sleep(0.01)
      file.write(f"{begin} {number} ends\n")
    return {"value": begin + number}

  threads, malloc = os.environ["OMP_NUM_THREADS"], os.environ.get("MALLOC_MMAP_MAX_")
  return run, {"processors": places, "threads": threads, "malloc": malloc}


def open_reversing(sign):
  def translate(texts):
    return [(sign + text[::-1], len(text)) for text in texts]

  return translate, {"sign": sign}


def make_broken(begin):
  def run(number):
    raise ValueError(f"round {number} is broken")

  return run, {}


def make_dying(begin):
  def run(number):
    os.write(2, b"said before it died")
    os._exit(3)

  return run, {}


def make_nothing(begin):
  raise KeyError("not to be made")
