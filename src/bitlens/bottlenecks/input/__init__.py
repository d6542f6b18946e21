"""InputIBA: bits at the resolution of the input, for images and for texts."""
