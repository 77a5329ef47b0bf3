"""torchvision, also beside a build of torch that its compiled operators do not fit.

There its import fails in two modules that describe these operators to the compiler of torch. The datasets and
transforms need none of them, so these two are left out; everything else is imported as usual.
"""

import sys
from types import ModuleType


def import_torchvision() -> None:
    """Import torchvision, without its operators if necessary."""
    try:
        import torchvision
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        for name in ("torchvision._meta_registrations", "torchvision._autograd_registrations"):
            sys.modules[name] = ModuleType(name)
        import torchvision  # noqa: F401


import_torchvision()
