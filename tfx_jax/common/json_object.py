"""The type of a JSON object, as `json.load` returns it."""

from typing import Any

# Keys and whatever JSON may hold for them: numbers, strings, null, lists and objects.
JsonObject = dict[str, Any]
