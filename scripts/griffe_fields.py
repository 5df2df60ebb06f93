"""For the Python API on the site: a class of fields (pydantic's, a NamedTuple) shows its fields as what it is called with.

And ``::``, by which a docstring announces code, is a colon.
"""

from __future__ import annotations

import re

import griffe


class Fields(griffe.Extension):
    """Gives such a class the ``__init__`` that it has at run time."""

    def on_object(self, *, obj: griffe.Object, **_) -> None:
        """Called for everything that may have a docstring."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"(?m)^ *::$", "", obj.docstring.value).replace("::\n\n", ":\n\n")

    def on_class(self, *, cls: griffe.Class, **_) -> None:
        """Called for every class once its members are known."""
        kinds = {str(base).rpartition(".")[2] for base in cls.bases}
        if not kinds & {"NamedTuple", "BaseModel", "Frozen"} or "__init__" in cls.members:
            return
        fields = [
            member
            for name, member in cls.members.items()
            if member.is_attribute and member.annotation is not None and not name.startswith("_")
        ]
        by_name = (
            griffe.ParameterKind.positional_or_keyword if "NamedTuple" in kinds else griffe.ParameterKind.keyword_only
        )
        parameters = griffe.Parameters(
            griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword),
            *(
                griffe.Parameter(field.name, annotation=field.annotation, kind=by_name, default=field.value)
                for field in fields
            ),
        )
        made = griffe.Function("__init__", lineno=cls.lineno, endlineno=cls.endlineno, parameters=parameters)
        cls.set_member("__init__", made)
