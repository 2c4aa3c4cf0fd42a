"""From a state to a better one, without losing any."""
