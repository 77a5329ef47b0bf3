"""The tools of this project, locked and verified.

`python -m fmnist_fetch.environment train` sets up a virtual environment with what training needs.
pylock.toml pins every wheel. The wheels come from any source that has them into a folder, the store, and are installed
from there; nothing else is ever downloaded. It starts with the standard library alone.
"""
