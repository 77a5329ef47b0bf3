"""The catalogue: data, not code."""
