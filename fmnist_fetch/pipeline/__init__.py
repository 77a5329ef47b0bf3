"""One dataset from nothing to tensors, and the state that it is in."""
