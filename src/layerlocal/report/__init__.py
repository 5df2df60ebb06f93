"""A summary in, one self-contained HTML page out. Never imports torch, and needs no network to be read.

render_page(summary) -> str             # the HTML
write_page(summary, path) -> Path       # the same, on disk, by an atomic rename
readme_figure(summary) -> str           # its first figure as an SVG file of its own
"""

from layerlocal.report.page import readme_figure as readme_figure
from layerlocal.report.page import render_page as render_page
from layerlocal.report.page import write_page as write_page

__all__ = ["readme_figure", "render_page", "write_page"]
