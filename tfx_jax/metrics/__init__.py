"""Scores, in percent as the field reports them: strings or sums in, numbers out."""
