"""Many runs of one experiment: their settings, their results side by side, and the picture."""
