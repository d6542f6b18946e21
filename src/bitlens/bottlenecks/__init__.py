"""Who decides how much of each feature passes."""
