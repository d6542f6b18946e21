"""Methods for texts that give every token a score, for comparison with the bottleneck."""
