"""layerlocal trains networks by layer-local rules beside their backprop twins, and says what that brings and what it costs.

    from layerlocal import fit, load_data
    fitted = fit("class-goodness", load_data("fashion_mnist_subset"), network="vgg8", width=0.125)
    module = fitted.to_module()   # a plain nn.Module: pixels in, scores out

The public names are those of ``__init__.pyi``, loaded when first used, so that ``import layerlocal`` costs nothing and the report never
needs torch.
"""

from __future__ import annotations

from typing import Any

import lazy_loader

__version__ = "0.1.0"

_load, _, _names = lazy_loader.attach_stub(__name__, __file__)
__all__ = [*(name for name in _names if name != "LayerLocalClassifier"), "__version__"]
"""What a star import gives: it asks for no extra."""


def __getattr__(name: str) -> Any:
    if name in _names:
        return _load(name)
    import difflib

    near = difflib.get_close_matches(name, __dir__(), n=1)
    hint = f". Did you mean {near[0]!r}?" if near else ""
    raise AttributeError(f"module 'layerlocal' has no attribute {name!r}{hint}", name=name)


def __dir__() -> list[str]:
    return sorted([*_names, "__version__"])
