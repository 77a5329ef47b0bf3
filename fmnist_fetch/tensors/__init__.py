"""From payloads to the tensor file, and from there to arrays."""
