"""Generation of texts: constraints, stop strings, streams, minimum Bayes risk."""
