"""Tensors only: masks, noise, information, the optimisation, and what comes out."""
