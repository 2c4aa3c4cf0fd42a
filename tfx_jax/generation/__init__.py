"""Generation: values in, outputs out, batch by batch."""
