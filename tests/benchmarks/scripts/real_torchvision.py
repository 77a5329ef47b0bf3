"""torchvision, also beside a build of torch that its compiled operators do not fit.

Its import fails there in two rooms that describe these operators to torch's compiler. The datasets and transforms need
none of them, so these two are left out; all the rest is imported as everybody's is.
"""

import sys
from types import ModuleType


def import_torchvision() -> None:
    """Import torchvision, without its operators if need be."""
    try:
        import torchvision
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        for name in ("torchvision._meta_registrations", "torchvision._autograd_registrations"):
            sys.modules[name] = ModuleType(name)
        import torchvision  # noqa: F401


import_torchvision()
