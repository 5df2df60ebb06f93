"""The command line: parse, call, print. Results go to standard output, everything else to standard error."""

from layerlocal.cli import certify as certify
from layerlocal.cli import cite as cite
from layerlocal.cli import cost as cost
from layerlocal.cli import export as export
from layerlocal.cli import public as public
from layerlocal.cli import runs as runs
from layerlocal.cli import show as show
from layerlocal.cli import studies as studies
from layerlocal.cli import tune as tune
from layerlocal.cli.app import app as app
from layerlocal.cli.app import main as main

__all__ = ["app", "main"]
