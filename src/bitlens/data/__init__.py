"""Photos, texts, boxes and data sets: what goes into a network, and the way back to pixels and words."""
