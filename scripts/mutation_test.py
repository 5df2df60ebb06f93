"""Do the tests bite? Each mutant is one deliberate defect in a copy of src/; the tests named beside it must fail on it.

    python scripts/mutation_test.py              every mutant, a few minutes on 2 cores
    python scripts/mutation_test.py store rules  those in files whose path contains one of the words

The working tree is never changed. Exit 1 if a mutant survives or its old text is not found exactly once.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

MUTANTS: list[tuple] = [
    # citing a store runs the rule files that it names
    ("runs/cite.py", "cite", ("_own_references(name) if run_files else None", "_own_references(name)")),
    # the rule that a twin is the partner of goes uncited
    ("runs/cite.py", "cite", ("sorted(names[0] | names[1])", "sorted(names[0])")),
    # what was typed before the last comma is lost
    ("cli/complete.py", "cli_complete", ("(before + comma + name, what)", "(name, what)")),
    # unfinished runs are offered
    ("cli/complete.py", "cli_complete", ('os.path.exists(os.path.join(store, name, "DONE"))', "True")),
    # why a claim cannot be judged is left out of the table
    (
        "report/formats.py",
        "results_shown",
        ('view["reason"] if view["verdict"][2] == UNJUDGED', '"" if view["verdict"][2] == UNJUDGED'),
    ),
    # fixed first filters: of one sign
    (
        "networks/cosine.py",
        "networks_cosine",
        ("torch.stack([filters, -filters], 1)", "torch.stack([filters, filters], 1)"),
    ),
    # in the order of rows, not of variance
    ("networks/cosine.py", "networks_cosine", ("at[1] + at[2] + (COLOUR if at[0] else 0), at", "at")),
    # trained after all
    ("networks/cosine.py", "networks_cosine", ("requires_grad_(False)", "requires_grad_(True)")),
    # of norm one
    ("networks/cosine.py", "networks_cosine", (" * conv.weight.flatten(1).norm(dim=1).mean()", "")),
    # any word will do
    ("networks/cosine.py", "networks_cosine", ('if first not in ("learned", "cosine"):', "if False:")),
    # a segment may save a little more than the block that saves most
    ("rules/core/segments.py", "rules_twins", ("> most:", "> 1.1 * most:")),
    # a storage that two blocks save counts twice
    (
        "rules/core/segments.py",
        "rules_twins",
        ("sum(joined.values()) > most", "sum(held.values()) + sum(blocks[start].saved.values()) > most"),
    ),
    # what leads on to the next block counts where there is a boundary
    ("rules/core/segments.py", "rules_twins", ("block in apart)", "block in together)")),
    # sizes need not make up the network
    ("rules/core/segments.py", "rules_twins", ("if sum(sizes) != depth:", "if sum(sizes) > depth:")),
    # readouts at every block are dropped all the same
    ("rules/twins.py", "rules_twins", ('if readouts == "ends":', "if readouts:")),
    # locality is that of the first segment
    (
        "rules/twins.py",
        "rules_twins",
        ("all(len(segment) == 1 for segment in self.segments) else", "len(self.segments[0]) == 1 else"),
    ),
    # a small difference loses its sign
    ("words.py", "words", ("        digits += 1\n", "        break\n")),
    # an interval that ends at 0 counts as above
    ("words.py", "words", ('return ABOVE if estimate["low"] > 0', 'return ABOVE if estimate["low"] >= 0')),
    # one seed is enough to say that fusion hides a better block
    ("experiments/studies/parts.py", "studies", ("if relation(behind) != BELOW:", "if behind['mean'] >= 0:")),
    # the best block is that of the first seed
    ("experiments/studies/parts.py", "studies", ("for row in rows))\n    behind", "for row in rows[:1]))\n    behind")),
    # a misspelt hook is passed over
    ("rules/core/rule.py", "cli_mishaps", ("cutoff=0.85", "cutoff=1.0")),
    # a rule that has both names is warned of
    ("rules/core/rule.py", "cli_mishaps", (" and not hasattr(super(cls, cls), name)", "")),
    # so is one below it
    ("rules/core/rule.py", "cli_mishaps", (" and not hasattr(super(cls, cls), name)", "")),
    # a locality may be any word
    ("rules/core/info.py", "cli_mishaps", ("if self.locality not in get_args(Locality):", "if False:")),
    # an empty name of data is the current folder
    ("data/arguments.py", "cli_mishaps", ("if not str(source):", "if False:")),
    # printing to a full disk is a traceback
    ("cli/app.py", "cli_mishaps", ("(errno.ENOSPC, errno.EDQUOT, errno.EPIPE)", "(errno.EPIPE,)")),
    # what is left in the buffer is printed when Python ends
    # an option that says nothing is passed over
    ("cli/studies.py", "cli_mishaps", ("if rule or claim or file or alpha is not None:", "if rule:")),
    # a forecast knows of no validation after an epoch that steps cut short
    ("runs/looks.py", "forecast", ("-(-steps // batches)", "(steps // batches)")),
    # every run is of one kind
    ("runs/forecast.py", "forecast", ("key = kind_of(task, spec), pace_of(task, spec)", 'key = "", ""')),
    # the first step, which warms up, is timed as well
    ("runs/timing.py", "forecast", ("    times = []\n", "    times = [clock(training.device)]\n")),
    # a dry run stops after the first epoch of a small task
    ("runs/timing.py", "forecast", ("map(training.batches.epoch, count())", "map(training.batches.epoch, range(1))")),
    # a dry run of a broken rule of the user's own ends in a traceback
    ("runs/timing.py", "forecast", ("with plugin_errors(spec), warnings", "with warnings")),
    # a task smaller than a batch has no steps to foretell
    ("runs/preview.py", "forecast", ("refuse_less_than_a_batch(task.num_train, spec.recipe)", "None")),
    # a round of a search may be shorter than its longest run
    (
        "experiments/tune/driver.py",
        "tune",
        ("max(runs * sum(seconds) / count, *seconds)", "runs * sum(seconds) / count"),
    ),
    # a trial is evaluated once more
    (
        "runs/result.py",
        "tune",
        ("    assert training.data.validation is not None", "    assert training.validate() is not None"),
    ),
    # a trial's command opens the test split
    ("command.py", "cli", ('if spec.judged_on != "test":', "if False:")),
    # the tenth block of sixteen is taken for the last
    ("runs/records.py", "store", ("key=lambda name: (len(name), name)", "key=lambda name: name")),
    # a worker's warning ends the other runs
    ("runs/local.py", "workers", ("with contextlib.suppress(Warning):", "with contextlib.nullcontext():")),
    # a mistyped study makes a store
    (
        "experiments/driver.py",
        "studying",
        (
            "    ready = prepare(experiment, out, how)\n    plan = exp",
            "    RunStore(out).prepare()\n    ready = prepare(experiment, out, how)\n    plan = exp",
        ),
    ),
    # a search looks for the runs of a plug-in under other names
    (
        "experiments/tune/plan.py",
        "cli_mishaps",
        ('update={"source_sha256": self.sources.get(method.rule)}', "update={}"),
    ),
    # damaged weights are exported
    ("runs/export.py", "cli_export", ("    folder.refuse_damaged_checkpoint()\n", "")),
    # a loss a sample goes on to backward
    ("rules/core/walk.py", "cli_mishaps", ("if value.dim() == 0:", "if True:")),
    # a plug-in that leaves ends every run
    (
        "runs/run.py",
        "cli_mishaps",
        (
            "    except BaseException as error:\n        if not spec.has_own_code",
            "    except Exception as error:\n        if not spec.has_own_code",
        ),
    ),
    # a rule file that leaves as it is read ends the command
    (
        "plugins.py",
        "cli_plugins",
        (
            "        except BaseException as error:\n            del",
            "        except Exception as error:\n            del",
        ),
    ),
    # the cost audit counts groups of convolutions several times
    ("measure/flops.py", "cost", ("custom_mapping=FORMULAS", "custom_mapping=None")),
    # a step that fails is told by every clause
    ("measure/contract.py", "check", ("        seen.update(HIDDEN[error.hides])\n", "")),
    # the shell trains plain layers
    ("spec.py", "cli", ("TYPED_NETWORK = NetworkSpec(fused=True)", "TYPED_NETWORK = NetworkSpec()")),
    # a study that could not begin keeps its folder
    ("experiments/driver.py", "cli_mishaps", ("        if is_new and", "        if False and")),
    # a dry run takes all runs for finished ones
    ("runs/forecast.py", "studying", ('"finished": len(planned) - len(left)', '"finished": len(planned)')),
    # a negative may carry the true label
    ("rules/core/functional.py", "rules_functional", ("torch.randint(1, num_classes", "torch.randint(0, num_classes")),
    # positive goodness is pushed down
    ("rules/core/functional.py", "rules_functional", ("F.softplus(theta - positive)", "F.softplus(positive - theta)")),
    # the readout's gradient is not divided by the size of its cell
    (
        "kernels/grid.py",
        "rules_functional",
        ("((rms + EPS) * (rows[:, None] * columns)[:, :, None])", "(rms + EPS)"),
    ),
    # clarity compares the true class with itself
    ("rules/core/functional.py", "rules_functional", ('g.scatter(1, y[:, None], float("-inf")).amax(1)', "g.amax(1)")),
    # no gradient boundary anywhere: a local rule becomes deep supervision
    (
        "rules/core/walk.py",
        "rules_oracles",
        ("[range(index, index + 1) for index in range(self.network.depth)]", "[range(self.network.depth)]"),
    ),
    # both detaches between blocks removed
    (
        "rules/core/walk.py",
        "measure_locality",
        ("h.detach(), y, cuts)", "h, y, cuts)"),
        ("metrics, h.detach()", "metrics, h"),
    ),
    # heads of equal shape start alike
    (
        "rules/core/walk.py",
        "rules_interface",
        ('derive_seed(self.seed, "head", index)', 'derive_seed(self.seed, "head")'),
    ),
    # a parameter shared by two blocks is let through
    ("rules/core/rule.py", "rules_interface", ("if owner.setdefault(id(parameter), name) != name:", "if False:")),
    # the one-pass readout of ff trains the blocks
    (
        "rules/ff.py",
        "rules_ff",
        ("rms_normalize(activity[2 * count :].detach())", "rms_normalize(activity[2 * count :])"),
    ),
    # the next block can read the goodness off its input
    (
        "rules/dtg_ff.py",
        "rules_dtg_ff",
        ("rms_normalize(activity) if self.decoupled_norm else", "activity if self.decoupled_norm else"),
    ),
    # the moving average forgets at once
    ("rules/dtg_ff.py", "rules_dtg_ff", ("1 - self.clarity_momentum)", "self.clarity_momentum)")),
    # bp is deep supervision
    ("rules/twins.py", "rules_twins", ("readouts=[depth - 1]", "readouts=range(depth)")),
    # segments are read at their first block
    (
        "rules/twins.py",
        "rules_twins",
        ("segment[-1] for segment in self.segments", "segment[0] for segment in self.segments"),
    ),
    # blocks of equal shape start alike
    ("networks/base.py", "networks", ('derive_seed(seed, "block", index)', 'derive_seed(seed, "block")')),
    # a cut that loses a residual is let through
    ("networks/base.py", "networks", ("if not torch.equal(expected, found):", "if False:")),
    # a depth that nobody has is built for minutes
    ("networks/base.py", "networks", ("if not 1 <= depth <= MAX_DEPTH:", "if not 1 <= depth:")),
    ("networks/base.py", "networks", ("if not 1 <= depth <= MAX_DEPTH:", "if not 0 <= depth <= MAX_DEPTH:")),
    # stored runs of another default are taken for runs of this one
    ("rules/committee.py", "defaults", ("head_width: int = 48", "head_width: int = 32")),
    # clipping by the norm of the whole network couples blocks
    (
        "training/optimizer.py",
        "rules_oracles",
        (
            "clip_grad_norm_(self.parameters[block], self.clip)",
            "clip_grad_norm_(sum(self.parameters.values(), []), self.clip)",
        ),
    ),
    # with a step a block, gradients are not clipped
    ("training/optimizer.py", "train_options", ("self._clip(blocks)\n        every", "every")),
    # a block may be stepped twice in one step
    ("training/optimizer.py", "train_options", ("if block in self.stepped:", "if False:")),
    # with a step a block, gradients stay until the end
    ("training/optimizer.py", "train_options", ("                parameter.grad = None", "                pass")),
    # what is computed again sees the buffers of later
    ("rules/core/recompute.py", "checkpointing", ("    _set_all(buffers, values)\n    try:", "    try:")),
    # what is computed again draws other random numbers
    ("rules/core/recompute.py", "checkpointing", ("torch.set_rng_state(self.random[0])", "pass")),
    # chunks are planned as if their inputs cost nothing
    ("rules/core/checkpointing.py", "checkpointing", ("= size + peak, -end", "= peak, -end")),
    # the last chunk is computed again for nothing
    (
        "rules/core/walk.py",
        "checkpointing",
        ("run(h) if last else keep_input_only", "run(h) if False else keep_input_only"),
    ),
    # one compiled function for blocks of all kinds
    ("networks/base.py", "train_options", ("torch.compile(_run_of_its_own(", "torch.compile(_run if True else (")),
    # cycles of hybrids count micro-batches
    ("training/train.py", "train_options", ("recipe.micro_batches > 1 and rule.needs_whole_batches", "False")),
    # micro-batches of a batch are summed, not averaged
    ("training/train.py", "train", ("loss.value * (len(x_part) / len(x))", "loss.value")),
    # the rate rises where it should fall
    ("training/optimizer.py", "train", ("math.cos(math.pi * (1 - left))", "math.cos(math.pi * left)")),
    # the rule's own draws are not those of the seed
    ("training/train.py", "train", ('torch.manual_seed(derive_seed(self.seed, "epoch", self.epoch))', "pass")),
    # fusion weights are fitted on training data
    (
        "training/evaluate.py",
        "train",
        ("_in_order(rule, data, data.validation, device)", "_in_order(rule, data, data.train, device)"),
    ),
    # a running sum hides when a loss became NaN
    ("training/meter.py", "train", ("total.isfinite()", "1")),
    # the intervention perturbs nothing
    ("measure/locality.py", "measure_locality", ("0.1 * torch.randn_like(parameter)", "0.0 * parameter")),
    # a gradient that reaches another block is no problem
    ("measure/locality.py", "measure_locality", ("if hit and block not in allowed[name]:", "if False:")),
    # the peak is what is held last
    ("rules/core/saved.py", "measure_memory", ("max(self.peak, self.current)", "self.current")),
    # a view counts as its own bytes, not as the storage it keeps alive
    ("rules/core/saved.py", "measure_memory", ("storage.nbytes()", "tensor.nbytes")),
    # DONE is written first
    (
        "runs/store.py",
        "store",
        ("for name in PARTS:\n", 'write_atomic(self.path / "DONE", b"{}")\n        for name in PARTS:\n'),
    ),
    # the old content is overwritten in place
    ("files.py", "store", ("os.replace(name, path)", "path.write_bytes(content)")),
    # a damaged file is believed
    ("runs/records.py", "store", ("if damaged:", "if False:")),
    # a copy under another name counts once more
    (
        "runs/records.py",
        "store_folders",
        ("if name != path.name:\n        raise _misnamed(path, name)\n    return", "return"),
    ),
    # of a changed file only its size and its time count, which anybody can set
    ("runs/index.py", "index", ("file.st_mtime_ns, file.st_ctime_ns)\n    return", "file.st_mtime_ns, 0)\n    return")),
    # a file is taken in that may change within the tick of its time
    ("runs/index.py", "index", ("max(file.st_mtime_ns, file.st_ctime_ns) > rested or", "")),
    # an index that was cut short is believed
    ("runs/index.py", "index", ("if content.startswith(_head(body)) else cls()", "if content else cls()")),
    # the index shows everybody what few may read
    ("runs/index.py", "index", ("everybody & 0o044 & ~file.st_mode", "False")),
    # whatever a lock gives means that it is held
    ("runs/locks.py", "store_folders", ("if error.errno in BUSY:", "if True:")),
    # the result of another run under the right spec counts
    ("runs/records.py", "store_folders", ('if result.get("run", name) != name:', "if False:")),
    # what may not be read is called damaged
    (
        "runs/records.py",
        "store_reading",
        ('return InputError(f"run {cannot_read(path, error)}")', "return damaged_run(path, error)"),
    ),
    # a kernel library that was cut short is loaded
    ("kernels/native.py", "kernels_library", ("if path == _place(folder, key, path.read_bytes()) and (", "if (")),
    # a folder that a group may write is used
    ("kernels/native.py", "kernels_library", ("facts.st_mode & 0o022", "facts.st_mode & 0o002")),
    # hidden files of others are swept away
    ("files.py", "store_folders", ("if ours.fullmatch(entry.name) and", 'if entry.name.startswith(".") and')),
    # two processes hold one run
    ("runs/locks.py", "store", ("fcntl.LOCK_EX | fcntl.LOCK_NB", "fcntl.LOCK_SH | fcntl.LOCK_NB")),
    # the biased standard deviation
    ("stats.py", "stats", ("* array.std(ddof=1) / np.sqrt", "* array.std() / np.sqrt")),
    # the hash depends on the order of options
    ("spec.py", "spec", ("sort_keys=True", "sort_keys=False")),
    # validation images are trained on
    (
        "data/selection.py",
        "data",
        (
            "np.setdiff1d(np.arange(len(labels)), held_out, assume_unique=True), held_out",
            "np.arange(len(labels)), held_out",
        ),
    ),
    # the first image column that is there
    ("data/columns.py", "data_columns", ('if "image" in able:', "if False:")),
    # whatever could be a label is one
    ("data/columns.py", "data_columns", ('for name in ("label", "fine_label") if', "for name in () if")),
    # a shard numbers its classes otherwise
    ("data/parquet.py", "data_columns", ("if class_names(schema, name) != names:", "if False:")),
    # of a repository any folder will do
    ("data/hub.py", "data_hub", ('and info.config in (None, folder.rpartition("/")[2])', "")),
    # where two folders have both splits, the first is taken
    ("data/hub.py", "data_hub", ("if len(whole) > 1:", "if False:")),
    # a part of a split is taken for the split
    ("data/hub.py", "data_hub", ('for files in found or () if branch == "main" else ():', "for files in ():")),
    # what was fetched before is forgotten without network
    ("data/hub.py", "data_hub", ("if (cached := _find_cached(info)) is not None:", "if (cached := None) is not None:")),
    # the branch is recorded, not the commit
    ("data/hub.py", "data_hub", ("_Fetched.at(listed.sha,", "_Fetched.at(branch,")),
    # the branch that the Hub converts is not looked for
    ("data/hub.py", "data_hub", ("for branch in _FILE:", 'for branch in ("main",):')),
    # class names need not be known
    ("data/hub.py", "data_hub", (" or class_names(schema, info.label_column) is None", "")),
    # classes are numbered in each split by itself
    (
        "data/columns.py",
        "data_columns",
        ("distinct = np.unique(np.concatenate(values))", "distinct = np.unique(values[0])"),
    ),
    # transparency is black
    ("data/decode.py", "data_decode", ('Image.new(mode, image.size, "white")', "Image.new(mode, image.size)")),
    # each image of 16 bits has a scale of its own
    (
        "data/decode.py",
        "data_decode",
        ("    if bits is not None:\n        return bits\n", "    return _bits_for(largest)\n"),
    ),
    # hidden copies are trained on
    ("data/folders.py", "data_folders", ('name.startswith(".") or name in', "name in")),
    # which images are tested depends on nothing but their place
    ("data/selection.py", "data_folders", ('derive_seed(seed, "test split")', 'derive_seed(0, "test split")')),
    # rows of a drawn split are taken for rows of the whole
    ("data/raw.py", "data_folders", ("return rows if self.rows is None else self.rows[rows]", "return rows")),
    # augmentation is the same in every epoch
    ("data/batches.py", "train", ('self._generator("augment", epoch)', 'self._generator("augment", 0)')),
    # the contract does not look for labels in scores
    ("measure/contract.py", "check", ("_require(torch.equal(*found),", "_require(True,")),
    # a local rule may hold every graph at once
    ("measure/contract.py", "check", ("ratio <= FLAT", "ratio <= DEEP")),
    # training sees the held-out pairs
    ("data/compose.py", "data_views", ("(~plan.held_out | unseen)", "(~plan.held_out | True)")),
    # validation pictures are made of training images
    (
        "data/assemble.py",
        "data_views",
        ("pairs(raw.train.at(held_out.rows), held_out.labels", "pairs(raw.train.at(train.rows), train.labels"),
    ),
    # the row is left out alone, so that its class is the rarer one
    ("measure/separability.py", "measure_separability", ("1 - (d * u - b * v) / determinant", "1 - u / a")),
    # the last epoch of a run given in steps is a whole one
    (
        "training/train.py",
        "train",
        ("islice(self.batches.epoch(self.epoch), self.steps - done)", "self.batches.epoch(self.epoch)"),
    ),
    # the pair's two scores change places
    (
        "rules/core/readout.py",
        "rules_factors",
        ("(first[..., :, None] + second[..., None, :])", "(first[..., None, :] + second[..., :, None])"),
    ),
    # similar teacher classes get weights of another size
    ("data/teacher.py", "data_views", ("(1 - options.similarity**2) ** 0.5", "(1 - options.similarity)")),
    # two looks at the same data count as one
    (
        "claims/case.py",
        "claims",
        (
            "min(1.0, 2 * min(self.p_supported, self.p_contradicted))",
            "min(1.0, min(self.p_supported, self.p_contradicted))",
        ),
    ),
    # one side of an equivalence is enough
    ("claims/judge.py", "claims", ("max(above(case.low), below(case.high))", "min(above(case.low), below(case.high))")),
    # Holm becomes Bonferroni
    ("stats.py", "stats", ("(len(p_values) - rank) * p_values[index]", "len(p_values) * p_values[index]")),
    # a claim's percentage points are taken for fractions
    ("words.py", "claims", ("return 100 if", "return 1 if")),
    # the smallest size counts instead of the largest
    ("claims/measured.py", "claims", ("for size in reversed(SIZE_ORDER)", "for size in SIZE_ORDER")),
    # the first step of a cycle is local
    ("rules/bp_every.py", "rules_hybrid", ("step % every == 0", "step % every == every - 1")),
    # the pass for the output error moves running statistics
    (
        "rules/feedback.py",
        "rules_hybrid",
        ("call_frozen([self.partner], self.partner.scores, x)", "self.partner.scores(x)"),
    ),
    # a head's loss reaches its block as well
    (
        "rules/lookahead.py",
        "rules_hybrid",
        ("self.partner.local_loss(index, activity.detach(), y)", "self.partner.local_loss(index, activity, y)"),
    ),
    # an undeclared look ahead is certified
    (
        "measure/locality.py",
        "rules_hybrid",
        ("for j, i in couplings if j - i > expected]", "for j, i in couplings if not expected]"),
    ),
    # a worker's death never counts
    (
        "runs/backlog.py",
        "workers_deaths",
        ("if epoch <= self._epochs.get(spec.hash, 0) else 0", "if epoch <= self._epochs.get(spec.hash, 0) else 1"),
    ),
    # DONE is brought back first
    ("runs/ray.py", "workers_ray", ('key=lambda name: name == "DONE"', 'key=lambda name: name != "DONE"')),
    # gains and losses in one colour's place
    ("report/plot_paint.py", "report_plots", ("(LOCAL if value >= 0 else EXTRA)", "(EXTRA if value >= 0 else LOCAL)")),
    ("report/plot_paint.py", "report_plots", ("not any(y[0] < y[2]", "not any(y[0] <= y[2]")),
    # series of a category on top of each other
    ("report/plot_paint.py", "report_plots", ("if not categories and (frame.kind", "if (frame.kind")),
    # a run that went on elsewhere says where it began, and no more
    (
        "runs/run.py",
        "run",
        ("if not parts or any(parts[-1].get(key) != value for key, value in here.items()):", "if not parts:"),
    ),
    # a run of data that were not recorded is an answer
    ("runs/store.py", "data_identity", ("spec.data.is_recorded and is_finished(path)", "is_finished(path)")),
    # the path counts beside what the data are
    ("spec.py", "spec", ('if content.get("content_sha256") is not None:\n        for', "if False:\n        for")),
    # data that changed since the plan are trained on
    ("data/task.py", "data_identity", ("if data.content_sha256 not in (None, found):", "if False:")),
    # what was begun on other data is passed over in silence
    ("runs/pin.py", "data_identity", ("if words in wanted and name != wanted[words]:", "if False:")),
    # names of classes are no part of the data
    ("data/raw.py", "data_identity", ("list(shape), list(class_names), groups]", "list(shape), groups]")),
    # pixels of the decoded copy are believed
    ("data/cache.py", "data_cache", ('if digest.hexdigest() != meta["pixels_sha256"]:', "if False:")),
    # what is read again is not kept
    ("data/cache.py", "data_cache", ("meta = None if reread else _read_meta(folder)", "meta = _read_meta(folder)")),
    # a damaged copy is moved away under a whole one
    ("data/cache.py", "data_cache", ('meta["sha256"] != _sum_of(meta)', "False")),
    ("data/cache.py", "data_cache", ('meta["key"] != folder.name', "False")),
    # a received rule file is run
    ("runs/export.py", "cli_export", ("        if not trust_rule_files:", "        if False:")),
    # exports with the data as they are now
    (
        "runs/export.py",
        "data_identity",
        ("    if facts is not None:\n        return facts", "    if False:\n        return facts"),
    ),
    # a spreadsheet runs a cell as a formula
    (
        "runs/table.py",
        "report_formats",
        ("""return f"'{text}" if _LOOKS_LIKE_A_FORMULA.match(text) else text""", "return text"),
    ),
    # a slope per class instead of per doubling
    ("experiments/studies/effects.py", "studies", ("lambda row: log2(row[axis])", "lambda row: row[axis]")),
    # the price of locality against plain BP
    (
        "experiments/studies/base.py",
        "studies",
        ('"price_of_locality": ("local", "bp-deepsup"),', '"price_of_locality": ("local", "bp"),'),
    ),
    # a data set predicts its own gap
    (
        "experiments/studies/calibration.py",
        "studies",
        ('[other for other in left if other["data"] != row["data"]]', "left"),
    ),
    # small sets are trained for fewer steps
    (
        "experiments/studies/scale.py",
        "studies",
        ("recipe.epochs * (kept // recipe.batch_size)", "recipe.epochs * (number // recipe.batch_size)"),
    ),
    # ReLU's backward lets everything through
    (
        "kernels/norm_act.c",
        "kernels",
        (
            "float all = co[m] * z + d[m], dz = z > 0 ? all : 0.0f;\n                            line[m]",
            "float all = co[m] * z + d[m], dz = all;\n                            line[m]",
        ),
    ),
    # the variance is that of a part of the rows
    ("kernels/norm_act.c", "kernels", ("spread = square / rows - shift * shift", "spread = square / rows")),
    # a cell's mean is over the whole map
    ("kernels/norm_act.c", "kernels", ("share = 1.0f / cell_count(g, i, j)", "share = 1.0f / (g->ph * g->pw)")),
    # the running variance is the biased one
    ("kernels/fused.py", "kernels", ("var * (count / max(1, count - 1))", "var")),
    # a shifted normalization loses its weight's gradient
    ("kernels/fused.py", "kernels", ("dweight = (sum_dz_u - mean * sum_dz) * rstd", "dweight = sum_dz_u * rstd")),
    # a megabyte is 2^20 bytes
    ("experiments/cost/budget.py", "cost", ('"MB": 10**6', '"MB": 2**20')),
    # the search stops at the first size that fits
    ("experiments/cost/budget.py", "cost", ("high - low > max(1, int(tolerance * low))", "high - low > low")),
    # a local rule is charged the gradient at its blocks' inputs
    (
        "experiments/cost/theory.py",
        "cost",
        ("3 * forward - first, 3 * forward - unneeded", "3 * forward - first, 3 * forward - first"),
    ),
    # a point that another beats is on the front
    ("experiments/cost/findings.py", "cost_audit", ("m <= memory and s >= speed and", "m < memory and s > speed and")),
    # memory is held against the smallest number of micro-batches
    (
        "experiments/cost/quantities.py",
        "cost_audit",
        ('max(micro, key=lambda row: int(row["mode"][6:])', 'min(micro, key=lambda row: int(row["mode"][6:])'),
    ),
    # the network with the smallest images speaks for a claim
    ("experiments/cost/quantities.py", "cost_audit", ("_of_group(max(groups,", "_of_group(min(groups,")),
    # a round is over when the fastest process is
    (
        "experiments/cost/summary.py",
        "cost_audit",
        ('batch_size / max(part[name][i]["seconds"]', 'batch_size / min(part[name][i]["seconds"]'),
    ),
    # more rounds measure the first again
    (
        "experiments/cost/plan.py",
        "cost_audit",
        ('request | {"repeat": index} for index in range(1, more + 1)', "request for _ in range(more)"),
    ),
    # rounds that nobody asked for count
    (
        "experiments/cost/summary.py",
        "cost_audit",
        ('for speed in row.get("samples_per_s", [])][:rounds]', 'for speed in row.get("samples_per_s", [])]'),
    ),
    # an open claim about memory asks for more seeds
    ("claims/measured.py", "claims", ('"processes": "--repeats"', '"processes": "--seeds"')),
    # a study trains a rule of the user's own whose loss is NaN
    ("runs/timing.py", "cli_plugins", ("            _rehearse(rule, task, spec)\n", "            pass\n")),
    # only noise is asked whether a rule breaks
    (
        "runs/timing.py",
        "cli_plugins",
        (
            "        Training(build_on(task, spec), load_task(spec.data), spec.recipe, seed=spec.seed)\n",
            "        raise\n",
        ),
    ),
    # seeds may be negative
    ("options.py", "public_calls", ('whole_number("seed", value, least=0)', 'whole_number("seed", value)')),
    # Pillow's warnings of metadata are printed
    ("data/cache.py", "data_cache", ('filterwarnings("ignore", module=', 'filterwarnings("default", module=')),
    # another machine's measurement is taken for this one's
    (
        "experiments/cost/process.py",
        "cost_audit",
        ("[request, self.machine, code_sha256()]", "[request, code_sha256()]"),
    ),
    # gradients are summed over processes, not averaged
    ("distributed/data_parallel.py", "distributed_data", ("self.sent.div_(self.group.size)", "self.sent")),
    # the variance between processes is lost
    ("distributed/sync_norm.py", "distributed_data", ("found[:, 1].mean(0) + between", "found[:, 1].mean(0)")),
    # neighbouring blocks are dealt one each and the rest to the last
    (
        "distributed/layer_parallel.py",
        "distributed_layers",
        ("best[number, end] = min(options)", "best[number, end] = max(options)"),
    ),
    # weights trained elsewhere are not brought back
    (
        "distributed/layer_parallel.py",
        "distributed_layers",
        ("self.rule.load_state_dict(self.rule.state_dict() | weights)", "pass"),
    ),
    # a ring sends every tensor whole to everyone
    (
        "experiments/cost/model.py",
        "distributed_model",
        ("self.message_seconds(size / processes)", "self.message_seconds(size)"),
    ),
    # a pipeline has no bubble
    ("experiments/cost/model.py", "distributed_model", ("fill = len(parts) - 1", "fill = 0")),
    # β and 1 − β change places
    (
        "rules/predsim.py",
        "rules_predsim",
        ("(1 - beta) * prediction + beta * similarity", "beta * prediction + (1 - beta) * similarity"),
    ),
    # similarities of what is not centred
    (
        "rules/predsim.py",
        "rules_predsim",
        ("centred = features - features.mean(1, keepdim=True)", "centred = features"),
    ),
    # negative data are to have more goodness
    ("rules/symba.py", "rules_symba", ("alpha * (negative - positive)", "alpha * (positive - negative)")),
    # labels reach the blocks of an unsupervised rule
    ("rules/scff.py", "rules_scff", ("activity[:count].detach()", "activity[:count]")),
    # targets learn nothing from the samples
    ("rules/sigprop.py", "rules_sigprop", ("samples @ targets.T", "samples @ targets.detach().T")),
    # the warning of costs counts heads that are not there
    ("rules/core/auxiliary.py", "rules_auxiliary", (" if name in self.heads]", "]")),
    # the interaction of two parts is taken for the effect of one
    (
        "experiments/studies/ablation.py",
        "studies",
        ("sign *= 1 if setting[part] else -1", "sign = 1 if setting[part] else -1"),
    ),
    # a trial opens the test split
    ("experiments/tune/plan.py", "tune", ('"judged_on": "validation"}', '"judged_on": "test"}')),
    # trials are asked for one after another, so that more of them are told of each other
    ("experiments/tune/search.py", "tune", ("self.made += number", "self.made += 2 * number")),
    # every seed gives the same heads
    ("rules/core/walk.py", "rules_family", ('derive_seed(self.seed, "head", index)', 'derive_seed(0, "head", index)')),
    # a block goes on making goodness for a head that was dropped
    ("rules/core/walk.py", "rules_family", ("self._tell_block(index, None)", "pass")),
    # fusion="best" takes the worst block
    ("rules/core/walk.py", "rules_family", ("right.argmax(), len", "right.argmin(), len")),
    # the module has forgotten what a rule doubles its input for
    ("rules/scff.py", "module", ("writes=[Double()], feed", "feed")),
    # a rule that predicts in a way of its own is exported as the one it comes from
    ("rules/core/rule.py", "module", ("if all(written(", "if any(written(")),
    # an option of another type is let through
    ("options.py", "rules_options", ("if kinds and not _fits(value, kinds):", "if False:")),
    # true counts as a number
    (
        "options.py",
        "rules_options",
        ("if value is None or isinstance(value, bool | str):", "if value is None or isinstance(value, str):"),
    ),
    # a search opens the test split where it is told to
    (
        "experiments/tune/plan.py",
        "tune",
        ("if key in (*self.settings, *(dimension.key for dimension in self.space)):", "if False:"),
    ),
    # members share one loss, that of their mean
    (
        "rules/core/members.py",
        "rules_committee",
        ("committee_loss(head.member_scores(activity), y", "committee_loss(head(activity)[:, None], y"),
    ),
    # every net reads what the first one made
    ("rules/committee.py", "rules_committee", ("(total, nets) if blocks", "(total, 1) if blocks")),
    # nets are as wide as they are told, whatever they read
    ("rules/committee.py", "rules_committee", ("width if wide else min(width, channels)", "width")),
    ("rules/committee.py", "rules_committee", ("width if wide else min(width, channels)", "min(width, channels)")),
    ("rules/committee.py", "rules_committee", ("wide=wide, fused", "fused")),
    # the linear member is not asked
    (
        "rules/core/members.py",
        "rules_committee",
        ("[:, None]] if self.linear else found", "[:, None]] if not found else found"),
    ),
    # no net is narrower where the map is larger; a net ends early, late; nets see each other; any width; begins at a finer map than asked
    (
        "rules/panel.py",
        "rules_panel",
        ("inputs, total = total, nets * min(widest, budget // max(sizes))", "inputs = total"),
    ),
    ("rules/panel.py", "rules_panel", (">= 4 * grid", "> 4 * grid")),
    ("rules/panel.py", "rules_panel", (">= 4 * grid", ">= 2 * grid")),
    ("rules/panel.py", "rules_panel", (", groups=nets, bias=False)", ", groups=1, bias=False)")),
    ("rules/panel.py", "rules_panel", ("total, halves = nets * min(widest, ", "total, halves = nets * max(1, ")),
    ("rules/panel.py", "rules_panel", ("pools=halves", "pools=False")),
    ("rules/core/members.py", "rules_panel", ("-(-max(sizes) // side)", "max(sizes) // side")),
    # PyTorch's own count of grouped convolutions
    ("measure/flops.py", "measure_flops", ("display=False, custom_mapping=FORMULAS", "display=False")),
    ("measure/flops.py", "measure_flops", ("forward * sum(wanted[:2])", "2 * forward")),
    # the text of a wrong option of a network is let through
    (
        "networks/__init__.py",
        "networks",
        ("    check_options(what, known, options, None if own is not None and own.collects else ())\n", ""),
    ),
    # a trained network is handed to the next run
    ("networks/own.py", "networks_own", ("if any(block in _HANDED_OUT", "if False and any(block in _HANDED_OUT")),
    # a network of one's own draws as the process happens to
    ("networks/own.py", "networks_own", ("with seeded(seed, 0):", "with seeded(None, 0):")),
    # an edited network is taken for the old one
    ("runs/pin.py", "run_own_networks", ('("network", spec.network, network)', '("network", spec.network, None)')),
    # a network of one's own gets the experiment's width and sizes
    ("experiments/settings.py", "own_networks", ('{"network.width": 1.0, **settings', "{**settings")),
    (
        "experiments/settings.py",
        "own_networks",
        (" if name in axes}", "}"),
    ),
    # a new field of a spec changes old hashes
    (
        "spec.py",
        "spec",
        (
            'section.model_dump(mode="json"), section.oldest)',
            'section.model_dump(mode="json"), section.oldest | section.written)',
        ),
    ),
    # the proposed width is not tried
    (
        "rules/core/channels.py",
        "rules_cwcomp",
        ("if all(each % num_classes == 0 for each in _channels(network, width)):", "if True:"),
    ),
    # a network of any width is trained for a rule that deals channels to classes
    ("experiments/studies/widths.py", "studies", ("if width and width <= WIDER * network.width}", "if width}")),
    # what is refused on one data set is refused on all
    ("experiments/studies/driver.py", "studying", ("if self.study.tasks_apart:", "if False:")),
]
"""(file below src/layerlocal, NAME of test_NAME.py, (old text, new text), ...)."""


def run_tests(names: set[str], source: Path) -> int:
    """Exit status of pytest on these test files with the package imported from ``source``; its output where it is not 0 or 1."""
    files = [str(file) for name in sorted(names) for file in (ROOT / "tests").rglob(f"test_{name}.py")]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *files]
    env = os.environ | {"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    found = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    if found.returncode not in (0, 1):
        print(found.stdout[-2000:], found.stderr[-2000:])
    return found.returncode


def judge(mutant: tuple) -> str:
    """Make the edits in a copy of src/ and run the tests on it: ``"caught"`` or what is wrong."""
    file, tests, *edits = mutant
    with tempfile.TemporaryDirectory() as folder:
        source = Path(shutil.copytree(ROOT / "src", Path(folder) / "src", ignore=shutil.ignore_patterns("__pycache__")))
        path = source / "layerlocal" / file
        for old, new in edits:
            text = path.read_text()
            if text.count(old) != 1:
                return f"OLD TEXT FOUND {text.count(old)} TIMES"
            path.write_text(text.replace(old, new))
        return {0: "SURVIVED", 1: "caught"}.get(run_tests({tests}, source), "TESTS DID NOT RUN")


def main(words: list[str]) -> int:
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    chosen = [mutant for mutant in MUTANTS if not words or any(word in mutant[0] for word in words)]
    if run_tests({tests for _, tests, *_ in chosen}, ROOT / "src") != 0:
        print("the tests fail without any mutant; mend that first")
        return 1
    caught = 0
    with ThreadPoolExecutor(2) as pool:
        for (file, _, (old, new), *_), verdict in zip(chosen, pool.map(judge, chosen), strict=True):
            caught += verdict == "caught"
            print(f"{verdict:8} {file}: {old.partition(chr(10))[0]} → {new.partition(chr(10))[0].strip()}", flush=True)
    print(f"{caught} of {len(chosen)} mutants caught")
    return 0 if caught == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
