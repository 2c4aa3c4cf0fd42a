"""Generation: inputs in, outputs out, batch by batch."""
