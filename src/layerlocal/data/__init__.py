"""What is learned from: `load_data` gives a task's splits, `Batches` makes augmented, normalized batches of one.

The names are those of ``__init__.pyi``, loaded when first used: what a task counts is known without torch (`task_of`).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
