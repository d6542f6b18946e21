"""Training of small networks that explain: one process or several, carried by Accelerate; it can be cut off at any moment."""
