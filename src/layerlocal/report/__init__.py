"""What a store holds in, one self-contained HTML page out, or Markdown, CSV, JSON. Never imports torch, and needs no network to be read.

render_page(content) -> str             # the HTML
write_page(content, path) -> Path       # the same, on disk, by an atomic rename
render_markdown(content) -> str         # verdicts, findings, tables, commands
render_claims(rows, sha256, command) -> str  # the table of claims alone, as Markdown
render_csv(content) -> str              # every row of every summary, or the runs where there is none
render_json(content) -> str             # everything, strict
write_figures(content, folder, forms)   # every figure of the page as files: SVG, PNG, PDF
figure_of(summary, name) -> Drawing     # one figure of a summary; its to_file("svg") is a file of its own
badge_svg(certificate) -> str           # of `layerlocal.certify`: a badge
in_short(summary) -> Summary            # own rules by their own names, not by their files
certificate_drawing(certificate) -> Drawing  # and the matrix of who is coupled to whom

A content is a `Content`, or a `layerlocal.summary.Summary` for what is made of it alone.
"""

from layerlocal.report.certificate import badge_svg as badge_svg
from layerlocal.report.certificate import certificate_drawing as certificate_drawing
from layerlocal.report.content import Content as Content
from layerlocal.report.formats import render_claims as render_claims
from layerlocal.report.formats import render_csv as render_csv
from layerlocal.report.formats import render_json as render_json
from layerlocal.report.formats import render_markdown as render_markdown
from layerlocal.report.page import figure_of as figure_of
from layerlocal.report.page import render_page as render_page
from layerlocal.report.page import write_figures as write_figures
from layerlocal.report.page import write_page as write_page
from layerlocal.report.short import in_short as in_short

__all__ = [
    "Content",
    "badge_svg",
    "certificate_drawing",
    "figure_of",
    "in_short",
    "render_claims",
    "render_csv",
    "render_json",
    "render_markdown",
    "render_page",
    "write_figures",
    "write_page",
]
