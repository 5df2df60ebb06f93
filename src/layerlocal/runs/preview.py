"""What can be known of a run before it: the size and shape of its task, and whether its rule can be built on it. Trains nothing.

Teacher-student data are not drawn for it, and what differs in its seed alone is looked at once. Kinds of runs that were looked at when this
version was made, or on this machine before (`layerlocal.runs.looks`), are not built again, so that most plans need no torch.
"""

from __future__ import annotations

from layerlocal.data.task import Task, refuse_less_than_a_batch, task_of
from layerlocal.runs.looks import find_look, keep_look, kind_of, pace_of
from layerlocal.spec import RuleSpec, RunSpec
from layerlocal.types import InputError

__all__ = ["is_about_rule", "look_ahead"]


def look_ahead(spec: RunSpec) -> tuple[Task, float]:
    """Load the task, build the rule and go forward once, if no run of its kind was looked at before, so that a mistake costs seconds.

    Returns:
        The task; and FLOPs a sample of the convolutions and linear layers in the forward passes of a training step, which are most of them.

    Raises:
        InputError: as the run itself would before its first step, or a rule of the user's own that fails.
    """
    task = task_of(spec.data)
    kind = kind_of(task, spec)
    if kind not in _LOOKED_AT:
        if look := find_look(kind, pace_of(task, spec)):
            _LOOKED_AT[kind] = look.flops
        else:
            from layerlocal.runs.timing import look_at

            _LOOKED_AT[kind] = look_at(task, spec)
            keep_look(spec, task, _LOOKED_AT[kind])
    refuse_less_than_a_batch(task.num_train, spec.recipe)
    return task, _LOOKED_AT[kind]


_LOOKED_AT: dict[str, float] = {}


def is_about_rule(spec: RunSpec) -> bool:
    """Whether the task alone is fine: backprop with the usual heads can be built on it."""
    try:
        look_ahead(spec.model_copy(update={"rule": RuleSpec(name="bp")}))
    except InputError:
        return False
    return True
