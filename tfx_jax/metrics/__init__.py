"""Metrics of texts and losses: strings or sums in, numbers out; shares are in percent."""
