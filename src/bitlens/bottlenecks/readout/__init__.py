"""The Readout Bottleneck: masks that a trained network reads."""
