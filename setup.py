"""What pyproject.toml cannot say: on a package index the links and pictures of README.md lead into the repository."""

import re
from pathlib import Path

from setuptools import setup

FILES = "https://github.com/layerlocal/layerlocal/blob/main/"
PICTURES = "https://raw.githubusercontent.com/layerlocal/layerlocal/main/"


def with_whole_links(text: str) -> str:
    """The page with addresses in place of paths; anchors on the page itself stay."""
    text = re.sub(r'(?<=src=")(?!https?:)|(?<=srcset=")(?!https?:)', PICTURES, text)
    return re.sub(r"(?<=\]\()(?!https?:|#)", FILES, text)


setup(
    long_description=with_whole_links(Path(__file__).with_name("README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
)
