"""The methods that bottlenecks are compared with: a score without a unit for every pixel."""
