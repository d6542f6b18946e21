"""Photos and texts explained into a folder, on workers, swept over layers and β; the demo."""
