"""A run in progress on several processes: what data-parallel and layer-parallel training share.

Process 0 leads: it has the run's folder and says what comes next; the others follow until it says ``"end"``. State is handed on in the format of
checkpoints, so a run may be begun on one process, continued on four and finished on two.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any, ClassVar

import torch
from safetensors.torch import load, save
from torch import Tensor

from layerlocal.data import Data
from layerlocal.distributed.group import Group
from layerlocal.rules import Rule
from layerlocal.spec import Recipe
from layerlocal.training.meter import Meter
from layerlocal.training.train import EpochRecord, StepReport, Training

__all__ = ["DistributedTraining"]


class DistributedTraining(Training):
    """`Training` on the processes of a group; every process makes one with the same arguments.

    Args:
        rule: as of `Training`; equal on all processes.
        data: likewise.
        recipe: likewise.
        group: the processes.
        seed: as of `Training`.
        device: where this process's tensors live.
    """

    mode: ClassVar[str]

    def __init__(
        self, rule: Rule, data: Data, recipe: Recipe, *, group: Group, seed: int = 0, device: str = "cpu"
    ) -> None:
        super().__init__(rule, data, recipe, seed=seed, device=device)
        self.group = group
        self.agreed = False
        self.spent: dict[str, float] = {}
        self.facts: dict[str, Any] = {}

    def run_epoch(self, report: StepReport | None = None) -> EpochRecord:
        """One epoch on all processes; process 0 begins and its record is of the whole run, those of the others are of their part."""
        if self.group.rank == 0:
            self.group.say("epoch")
        if not self.agreed:
            self._agree()
        record = super().run_epoch(report)
        return self._merge(record)

    def follow(self) -> None:
        """Do what process 0 says, to the end."""
        while self.group.hear() == "epoch":
            self.run_epoch()

    def close(self) -> dict[str, Any]:
        """Let the others go; ``parallel`` tells how the run was spread and what its last epoch sent and waited."""
        if self.group.rank == 0:
            self.group.say("end")
        return {"parallel": self.facts} if self.facts else {}

    def _agree(self) -> None:
        """All processes go on from the state of process 0."""
        content = None
        if self.group.rank == 0:
            tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_tensors().items()}
            content = save(tensors | {"epoch": torch.tensor(self.epoch)})
        tensors = load(self.group.share_bytes(content))
        epoch = int(tensors.pop("epoch"))
        if self.group.rank:
            self.load_state_tensors(tensors, epoch)
        self.agreed = True

    def _run_steps(self, meter: Meter, report: StepReport | None) -> int:
        traffic = self.group.traffic
        traffic.reset()
        start = time.perf_counter()
        samples = super()._run_steps(meter, report)
        self._finish_steps()
        seconds = time.perf_counter() - start
        steps = samples // self.recipe.batch_size
        self.spent = {
            "seconds": seconds,
            "bytes_per_step": traffic.sent_bytes / steps,
            "idle_share": traffic.waited_seconds / seconds,
        }
        return samples

    def _finish_steps(self) -> None:
        """Whatever is still on its way at the end of an epoch."""

    def _merge(self, record: EpochRecord) -> EpochRecord:
        """Process 0's record with what the others have to add."""
        key = f"record/{record.epoch}"
        mine = {"losses": record.losses, "metrics": record.metrics, "spent": self.spent}
        if self.group.rank:
            self.group.write(f"{key}/{self.group.rank}", json.dumps(mine))
            return record
        parts = [mine, *(json.loads(self.group.read(f"{key}/{rank}")) for rank in range(1, self.group.size))]
        seconds = max(part["spent"]["seconds"] for part in parts)
        self.facts = self._facts([part["spent"] for part in parts])
        return replace(
            record,
            seconds=seconds,
            samples_per_s=record.samples_per_s * record.seconds / seconds,
            losses=self._join([part["losses"] for part in parts]),
            metrics=self._join([part["metrics"] for part in parts]),
        )

    def _join(self, parts: list[dict[str, float]]) -> dict[str, float]:
        """The whole run's losses or metrics from those of its parts."""
        raise NotImplementedError

    def _facts(self, spent: list[dict[str, float]]) -> dict[str, Any]:
        return {
            "mode": self.mode,
            "processes": self.group.size,
            "backend": self.group.backend,
            "bytes_per_step": [part["bytes_per_step"] for part in spent],
            "idle_share": [part["idle_share"] for part in spent],
        }

    def _differing(self, tensors: dict[str, Tensor]) -> list[str]:
        """Names of the tensors that are not the same on all processes, by their sums and sums of squares."""
        here = [t.to(self.device) for t in tensors.values()]  # a counter may lie on the CPU
        sums = [torch.stack([t.double().sum(), t.double().square().sum()]) for t in here]
        found = torch.stack(self.group.gather(torch.stack(sums)))  # (W, tensors, 2)
        differ = ((found != found[0]) & ~(found.isnan() & found[0].isnan())).flatten(2).any(2).any(0)
        return [name for name, bad in zip(tensors, differ.tolist(), strict=True) if bad]
