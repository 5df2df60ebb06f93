"""``python -m layerlocal``, and ``torchrun -m layerlocal``."""

from layerlocal.cli import main

main()
