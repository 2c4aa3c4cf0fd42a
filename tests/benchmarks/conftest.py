"""The programs in benchmarks/ import each other as neighbours."""

import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).parents[2] / "benchmarks"))
