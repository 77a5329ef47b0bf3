"""Downloads without the engine: one module with the standard library alone, and the script that is made of it."""
