"""Rules whose name changed hands: what files of earlier versions call them, and what runs are named after.

Until `EDITION` 2, ``dtg-ff`` was the rule that is ``class-goodness`` now; the name is that of the paper's method since. A file that says
no edition is of the first. Runs keep the hashes that they had: a hash is made of a rule's first name.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["EDITION", "first_name", "names_of_today"]

EDITION = 2
_TODAY = {"dtg-ff": "class-goodness"}
_FIRST = {"class-goodness": "dtg-ff", "dtg-ff": "dtg-ff of arXiv:2606.06539"}
_OLD = re.compile(r"(?<![\w./-])(dtg-ff)(?![\w.-]|/(?!rule\.|recipe\.))")


def first_name(rule: str) -> str:
    """What a rule is called in hashes."""
    return _FIRST.get(rule, rule)


def names_of_today(content: Any) -> Any:
    """What a JSON file of ours holds, with the rules' names of today, and without its edition.

    Args:
        content: as it was read; of an earlier version if it is no object that says its edition in ``names``.
    """
    if isinstance(content, dict) and "names" in content:
        return {key: value for key, value in content.items() if key != "names"}
    return _renamed(content)


def _renamed(content: Any) -> Any:
    match content:
        case str():
            return _OLD.sub(lambda found: _TODAY[found[1]], content)
        case dict():
            return {_renamed(key): _renamed(value) for key, value in content.items()}
        case list():
            return [_renamed(value) for value in content]
    return content
