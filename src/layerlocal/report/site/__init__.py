"""The public table: a folder of pages that says of every method what was claimed, what was measured, how local it is and what it costs.

render_site(site) -> dict[str, str]     # name of a file → its HTML; index.html, rules/NAME.html, claims/ID.html
write_site(site, folder) -> list[Path]  # the same on disk, each file whole or not at all

No page needs a server, a network or a script from elsewhere. Never imports torch.
"""

from layerlocal.report.site.pages import Site as Site
from layerlocal.report.site.pages import render_site as render_site
from layerlocal.report.site.pages import write_site as write_site

__all__ = ["Site", "render_site", "write_site"]
