"""Files, the console, optional packages, memory."""
