"""The type of trees of arrays."""

from typing import Any

# A pytree: nested dicts, lists, tuples and dataclasses whose leaves are arrays. Its structure is
# known only to whoever made it, so type checkers take it for anything, as they do JAX's functions.
Tree = Any
