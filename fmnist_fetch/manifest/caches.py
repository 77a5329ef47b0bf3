"""Other tools' caches with a dataset's files as they are published: to copy from, or to fill if asked."""

import os
from pathlib import Path

# The environment variable with which a tool lets its home be moved, if it has one, and where its home is without it.
# They are known here and not in manifests, so that no manifest chooses the folder that files are written to.
# Sources: keras.utils.get_file; paddle.dataset.common.download.
HOMES = {
    "keras": ("KERAS_HOME", "~/.keras"),
    "paddle": ("", "~/.cache/paddle/dataset"),
}


def cache_folder(tool: str, place: str) -> Path:
    """Return the folder PLACE, with / between names, of the cache of TOOL, which is a key of HOMES."""
    variable, home = HOMES[tool]
    # Not Path.expanduser: that one raises for a user without a home.
    return Path(os.path.expanduser(os.environ.get(variable) or home), place)  # noqa: PTH111
