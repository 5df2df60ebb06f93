"""``python -m layerlocal.cli``."""

from layerlocal.cli import main

main()
