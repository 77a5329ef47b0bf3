"""pooch downloads what is registered, and checks its SHA-256: pooch_fetch.py URL NAME=DIGEST..."""

import sys

import pooch

registry = dict(word.split("=") for word in sys.argv[2:])
shelf = pooch.create(path=".", base_url=sys.argv[1], registry={name: f"sha256:{it}" for name, it in registry.items()})
for name in registry:
    shelf.fetch(name)
