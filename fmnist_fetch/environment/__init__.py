"""The virtual environment of this project, from locked and verified wheels.

`python -m fmnist_fetch.environment train` sets up what training needs. It starts with the standard library alone.
pylock.toml pins every wheel. Wheels are downloaded from any source that has them to a folder, the store, and installed
from there; nothing else is downloaded.
"""
