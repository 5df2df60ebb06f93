"""Training steps for the tests of `certify`: local ones in every usual way of writing them, and one for every known leak.

Each function makes a step and its groups. Blocks are `D × D` maps with a ReLU, so what they keep and compute has a closed form.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

D, B, L, K = 16, 32, 4, 5
X = torch.randn(B, D, generator=torch.Generator().manual_seed(1))
Y = torch.arange(B) % K


def blocks(depth=L, *, bias=False, extra=()):
    torch.manual_seed(3)
    return nn.ModuleList(
        [nn.Sequential(nn.Linear(D, D, bias=bias), *(make() for make in extra), nn.ReLU()) for _ in range(depth)]
    )


def sgd(module, rate=0.05, **options):
    return torch.optim.SGD(module.parameters(), lr=rate, **options)


def adam(module):
    return torch.optim.Adam(module.parameters(), lr=1e-2)


def loss_of(h):
    return h.square().mean()


# --- local, in every usual way ---------------------------------------------------------------------------------------


def greedy(make=sgd, parts=blocks, feed=lambda h: h.detach(), after=lambda parts: None, call=lambda block, h: block(h)):
    """Backward block by block, one optimizer."""
    parts = parts()
    optimizer = make(parts)

    def step():
        h = X
        for block in parts:
            h = call(block, feed(h))
            loss_of(h).backward()
        after(parts)
        optimizer.step()
        optimizer.zero_grad()

    return step, parts


def summed():
    """Detach, and one backward over the sum: local, and every graph is there at once."""
    parts = blocks()
    optimizer = sgd(parts)

    def step():
        h, total = X, 0.0
        for block in parts:
            h = block(h.detach())
            total = total + loss_of(h)
        total.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step, parts


def optimizer_per_block():
    """Its step comes before the next block runs."""
    parts = blocks()
    optimizers = [adam(block) for block in parts]

    def step():
        h = X
        for block, optimizer in zip(parts, optimizers, strict=True):
            h = block(h.detach())
            optimizer.zero_grad()
            loss_of(h).backward()
            optimizer.step()

    return step, parts


def fed_without_gradients():
    """The released Forward-Forward way: the block runs again under no_grad to feed the next."""
    parts = blocks()
    optimizers = [adam(block) for block in parts]

    def step():
        h = X
        for block, optimizer in zip(parts, optimizers, strict=True):
            optimizer.zero_grad()
            loss_of(block(h)).backward()
            optimizer.step()
            with torch.no_grad():
                h = block(h)

    return step, parts


def by_hand():
    """torch.autograd.grad and a step of one's own."""
    parts = blocks()

    def step():
        h = X
        for block in parts:
            h = block(h.detach())
            gradients = torch.autograd.grad(loss_of(h), list(block.parameters()))
            with torch.no_grad():
                for p, gradient in zip(block.parameters(), gradients, strict=True):
                    p -= 0.05 * gradient

    return step, parts


def own_average():
    """An average of its own weights, kept for prediction and read by nobody."""
    parts = blocks()
    optimizer, average = sgd(parts), copy.deepcopy(parts)

    def step():
        h = X
        for block in parts:
            h = block(h.detach())
            loss_of(h).backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            for kept, p in zip(average.parameters(), parts.parameters(), strict=True):
                kept.lerp_(p, 0.1)

    return step, parts


def logging():
    """Detached losses and activities are kept for a log; nothing learns from them."""
    parts = blocks()
    optimizer, log = sgd(parts), []

    def step():
        h = X
        for block in parts:
            h = block(h.detach())
            loss = loss_of(h)
            log.append((loss.detach(), h.detach().numpy().mean()))
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step, parts


class Trainer:
    """State in an object: a counter, a generator of its own, a schedule."""

    def __init__(self):
        self.parts = blocks(extra=(lambda: nn.BatchNorm1d(D),))
        self.optimizer = sgd(self.parts, momentum=0.9)
        self.schedule = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, 0.9)
        self.draws = torch.Generator().manual_seed(0)
        self.steps = 0

    def step(self):
        self.steps += 1
        h = X + torch.randn(X.shape, generator=self.draws) / self.steps
        for block in self.parts:
            h = block(h.detach())
            loss_of(h).backward()
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()


def trainer():
    made = Trainer()
    return made.step, made.parts


def scaler_per_block():
    parts = blocks()
    optimizers, scalers = [sgd(block) for block in parts], [torch.amp.GradScaler("cpu") for _ in parts]

    def step():
        h = X
        for block, optimizer, scaler in zip(parts, optimizers, scalers, strict=True):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                h = block(h.detach())
            scaler.scale(loss_of(h.float())).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()

    return step, parts


def clip_each(parts):
    for block in parts:
        nn.utils.clip_grad_norm_(block.parameters(), 1e-3)


def clip_all(most):
    return lambda parts: nn.utils.clip_grad_norm_(parts.parameters(), most)


def stopped_target():
    """A stopped gradient within each block's loss (as SimSiam's) is no boundary between blocks."""
    parts = blocks()
    optimizer = sgd(parts)

    def step():
        h = X
        for block in parts:
            h = block(h.detach())
            (loss_of(h) - (h * h.roll(1, 0).detach()).mean()).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step, parts


def draws_as_it_likes():
    """How many random numbers the last block draws hangs on its weights, so the next step's dropout would see others."""
    parts = blocks(extra=(lambda: nn.Dropout(0.3),))
    optimizer = sgd(parts)

    def step():
        h = X
        for block in parts:
            h = block(h.detach())
            loss_of(h).backward()
        torch.rand(1 + int(1e4 * loss_of(h).detach().clamp(max=10)))
        optimizer.step()
        optimizer.zero_grad()

    return step, parts


def checkpointed(reentrant):
    def call(block, h):
        return checkpoint(block, h, use_reentrant=reentrant)

    return greedy(feed=lambda h: h.detach().requires_grad_(), call=call)


LOCAL = {
    "sgd": greedy,
    "momentum": lambda: greedy(lambda parts: sgd(parts, momentum=0.9)),
    "adam": lambda: greedy(adam),
    "adamw": lambda: greedy(lambda parts: torch.optim.AdamW(parts.parameters())),
    "rmsprop": lambda: greedy(lambda parts: torch.optim.RMSprop(parts.parameters())),
    "biases": lambda: greedy(parts=lambda: blocks(bias=True)),
    "batch norm": lambda: greedy(parts=lambda: blocks(extra=(lambda: nn.BatchNorm1d(D),))),
    "layer norm": lambda: greedy(parts=lambda: blocks(extra=(lambda: nn.LayerNorm(D),))),
    "dropout": lambda: greedy(parts=lambda: blocks(extra=(lambda: nn.Dropout(0.3),))),
    "detach_": lambda: greedy(feed=lambda h: h.detach_()),
    "data": lambda: greedy(feed=lambda h: h.data),
    "clip each": lambda: greedy(after=clip_each),
    "checkpoint": lambda: checkpointed(False),
    "reentrant checkpoint": lambda: checkpointed(True),
    "summed": summed,
    "optimizer per block": optimizer_per_block,
    "fed without gradients": fed_without_gradients,
    "by hand": by_hand,
    "own average": own_average,
    "logging": logging,
    "trainer": trainer,
    "scaler per block": scaler_per_block,
    "stopped target": stopped_target,
    "draws as it likes": draws_as_it_likes,
}


# --- leaks -----------------------------------------------------------------------------------------------------------


def missing_detach(at=None):
    """No boundary at all, or one only."""
    parts = blocks()
    optimizer = sgd(parts)

    def step():
        h, total = X, 0.0
        for index, block in enumerate(parts):
            h = block(h.detach() if index == at else h)
            total = total + loss_of(h)
        total.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step, parts


def borrowed_average():
    """The first block's loss is weighed by a moving average of the last block's weights."""
    parts = blocks()
    optimizer, average = sgd(parts), copy.deepcopy(parts[-1])

    def step():
        h = X
        for index, block in enumerate(parts):
            h = block(h.detach())
            weight = average[0].weight.detach().norm() if index == 0 else 1.0
            (weight * loss_of(h)).backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            for kept, p in zip(average.parameters(), parts[-1].parameters(), strict=True):
                kept.lerp_(p, 0.1)

    return step, parts


def borrowed_weights(after=lambda parts: None):
    """The first block's loss is weighed by the last block's weights themselves."""
    parts = blocks()
    optimizer = sgd(parts)

    def step():
        h = X
        for index, block in enumerate(parts):
            h = block(h.detach())
            weight = parts[-1][0].weight.detach().norm() if index == 0 else 1.0
            (weight * loss_of(h)).backward()
        after(parts)
        optimizer.step()
        optimizer.zero_grad()

    return step, parts


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.embed = nn.Embedding(K, D)
        self.blocks = blocks(2)
        self.heads = nn.ModuleList([nn.Linear(D, K, bias=False) for _ in range(2)])
        self.last = nn.Linear(D, K, bias=False)


def shared_embedding(tied=True):
    """The last head is the embedding."""
    model = Tokens()
    if tied:
        model.last.weight = model.embed.weight
    optimizer = adam(model)

    def step():
        h = model.embed(Y)
        F.cross_entropy(model.heads[0](h), Y.roll(1)).backward()
        h = model.blocks[0](h.detach())
        F.cross_entropy(model.heads[1](h), Y.roll(1)).backward()
        h = model.blocks[1](h.detach())
        F.cross_entropy(model.last(h), Y.roll(1)).backward()
        optimizer.step()
        optimizer.zero_grad()

    first, second = nn.ModuleList([model.embed, model.heads[0]]), nn.ModuleList([model.blocks[0], model.heads[1]])
    return step, [first, second, nn.ModuleList([model.blocks[1], model.last])]


def fusion(leaks):
    """A classifier over what all blocks say; its gradient reaches all of them, or is stopped before."""
    parts, fuse = blocks(), nn.Linear(L * D, K)
    optimizer = sgd(nn.ModuleList([*parts, fuse]))

    def step():
        h, said = X, []
        for block in parts:
            h = block(h.detach())
            said.append(h if leaks else h.detach())
            loss_of(h).backward(retain_graph=leaks)
        F.cross_entropy(fuse(torch.cat(said, 1)), Y).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step, [*parts, fuse]


def untrained_by_checkpoint():
    """A reentrant checkpoint whose input takes no gradient: what is inside never learns."""
    parts, head = blocks(), nn.Linear(D, K)
    optimizer = sgd(nn.ModuleList([*parts, head]))

    def step():
        h = X
        for block in parts:
            h = checkpoint(block, h, use_reentrant=True)
        F.cross_entropy(head(h), Y).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step, [*parts, head]


def overlay(labels):
    """(B,) → (B, D): the images with a one-hot label in their first K numbers, as Forward-Forward gives it."""
    return torch.cat([F.one_hot(labels, K).float(), X[:, K:]], 1)


def true_negatives():
    """Forward-Forward, whose negative data carry the true label of some samples: a mistake about labels, not about credit."""
    parts = blocks()
    optimizer, wrong = sgd(parts), torch.randint(K, (B,), generator=torch.Generator().manual_seed(2))
    assert (wrong == Y).any()

    def step():
        positive, negative = overlay(Y), overlay(wrong)
        for block in parts:
            positive, negative = block(positive.detach()), block(negative.detach())
            F.softplus(negative.square().mean(1) - positive.square().mean(1)).mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step, parts


def one_scaler():
    parts = blocks()
    optimizer, scaler = sgd(parts), torch.amp.GradScaler("cpu")

    def step():
        h = X
        for block in parts:
            h = block(h.detach())
            scaler.scale(loss_of(h)).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()

    return step, parts


def driven_schedule():
    """The rate of all falls when the last block's loss does not."""
    parts = blocks()
    optimizer = sgd(parts)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)

    def step():
        h = X
        for block in parts:
            h = block(h.detach())
            loss = loss_of(h)
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step(loss.item())

    return step, parts


def shared_norm():
    """One normalization, with its weights, in every block."""
    norm = nn.LayerNorm(D)
    return greedy(parts=lambda: blocks(extra=(lambda: norm,)))


def two_updates(clip=lambda parts: None):
    """Two optimizer steps in one call: of the last block alone, then, through it, of both. Larger gradients in the first move what the second
    reads.
    """
    parts = blocks(2)
    optimizers = [sgd(block) for block in parts]

    def step():
        loss_of(parts[1](parts[0](X).detach())).backward()
        clip(parts)
        optimizers[1].step()
        parts.zero_grad()
        loss_of(parts[1](parts[0](X))).backward()
        clip(parts)
        for optimizer in optimizers:
            optimizer.step()
        parts.zero_grad()

    return step, parts


def two_updates_by_hand():
    """The same without an optimizer."""
    parts = blocks(2)

    def step():
        for stopped in (True, False):
            h = parts[0](X)
            loss_of(parts[1](h.detach() if stopped else h)).backward()
            with torch.no_grad():
                for p in parts.parameters():
                    if p.grad is not None:
                        p -= 0.05 * p.grad
                        p.grad = None

    return step, parts


def every_other_call():
    """A counter; at even calls only there is a boundary, or only at odd ones."""
    parts, calls = blocks(), [0]
    optimizer = sgd(parts)

    def step():
        calls[0] += 1
        h, total = X, 0.0
        for block in parts:
            h = block(h.detach() if calls[0] % 2 else h)
            total = total + loss_of(h)
        total.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step, parts


def clipped_after_warm_up():
    """One clipping norm; the rate of the first step is 0."""
    parts = blocks()
    optimizer = sgd(parts)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: done / 10)

    def step():
        h = X
        for block in parts:
            h = block(h.detach())
            loss_of(h).backward()
        clip_all(1e3)(parts)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()

    return step, parts


def clipped_halves():
    """As LoPT: a boundary at the middle, one sum of losses and one clipping norm."""
    parts = blocks()
    optimizer = sgd(parts)

    def step():
        h = parts[1](parts[0](X))
        (loss_of(h) + loss_of(parts[3](parts[2](h.detach())))).backward()
        clip_all(1.0)(parts)
        optimizer.step()
        optimizer.zero_grad()

    return step, parts


GLOBAL = {
    "missing detach": (missing_detach, "gradient"),
    "fusion": (lambda: fusion(True), "gradient"),
    "borrowed weights": (borrowed_weights, "read"),
    "borrowed average": (borrowed_average, "later"),
    "shared embedding": (shared_embedding, "shared"),
    "shared norm": (shared_norm, "shared"),
    "clip that bites": (lambda: greedy(after=clip_all(1e-3)), "norm"),
    "clip that would bite": (lambda: greedy(after=clip_all(1e3)), "norm"),
    "one scaler": (one_scaler, "norm"),
    "driven schedule": (driven_schedule, "later"),
    "two updates": (two_updates, "gradient"),
    "two updates, each clipped by itself": (lambda: two_updates(clip_each), "gradient"),
    "two updates, clipped together": (lambda: two_updates(clip_all(1e3)), "gradient and norm"),
    "two updates by hand": (two_updates_by_hand, "gradient"),
    "every other call": (every_other_call, "gradient"),
    "clip after a warm-up": (clipped_after_warm_up, "norm"),
    "borrowed weights and a clip": (lambda: borrowed_weights(clip_all(1e3)), "read and norm"),
}
"""Leak → what makes the step, and the way in which the last group changes the first."""


# --- ways of writing a block that hide its weights --------------------------------------------------------------------


def shortcut(without):
    """Beside the detached path, a map of the input that is made without gradients and added."""
    torch.manual_seed(3)
    parts = nn.ModuleList([nn.ModuleList([plain(), plain()]) for _ in range(L)])
    optimizer = sgd(parts)

    def step():
        h = X
        for block in parts:
            with without():
                beside = block[1](h)
            h = block[0](h.detach()) + beside
            loss_of(h).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step, parts


def own_teacher():
    """Each block's target is what it makes itself of another input, without gradients; a score is made so after the update."""
    torch.manual_seed(3)
    parts = nn.ModuleList([nn.Sequential(plain(), nn.ReLU(), plain(), nn.ReLU()) for _ in range(L)])
    optimizer = sgd(parts)

    def step():
        h = X
        for block in parts:
            with torch.no_grad():
                target = block(h + 0.1)
            h = block(h.detach())
            loss_of(h - target).backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            nn.Sequential(*parts)(X).argmax(1)

    return step, parts


class Standardized(nn.Linear):
    """A linear map whose weights are standardized at every call."""

    def forward(self, x):
        w = self.weight
        return F.linear(x, (w - w.mean(1, keepdim=True)) / (w.std(1, keepdim=True) + 1e-5))


def of(make, before=False):
    """Greedy blocks of one's own map, with the ReLU behind it or, in place, before it."""

    def parts():
        torch.manual_seed(3)
        relu = nn.ReLU(inplace=before)
        return nn.ModuleList([nn.Sequential(*((relu, make()) if before else (make(), relu))) for _ in range(L)])

    return greedy(parts=parts)


def plain():
    return nn.Linear(D, D, bias=False)


def stepped_in_backward():
    """Each parameter has an optimizer of its own, which steps within the backward."""
    parts = blocks()
    optimizers = {p: torch.optim.Adam([p]) for p in parts.parameters()}

    def stepped(p):
        optimizers[p].step()
        optimizers[p].zero_grad()

    for p in parts.parameters():
        p.register_post_accumulate_grad_hook(stepped)

    def step():
        h = X
        for block in parts:
            h = block(h.detach())
            loss_of(h).backward()

    return step, parts


def compiled():
    parts = blocks()
    fast = [torch.compile(block, backend="aot_eager") for block in parts]
    optimizer = sgd(parts)

    def step():
        h = X
        for block in fast:
            h = block(h.detach())
            loss_of(h).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step, parts


def warmed_up():
    """The rate of the first step is 0: what is coupled shows at the second only."""
    parts = blocks()
    optimizer = sgd(parts)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: done / 10)

    def step():
        h = X
        for block in parts:
            h = block(h)
        loss_of(h).backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()

    return step, parts


def searched():
    """L-BFGS calls backward as often as it likes."""
    parts = blocks()
    optimizer = torch.optim.LBFGS(parts.parameters(), lr=0.1, max_iter=3)

    def closure():
        optimizer.zero_grad()
        h, total = X, 0.0
        for block in parts:
            h = block(h.detach())
            loss = loss_of(h)
            loss.backward()
            total = total + loss
        return total

    return (lambda: optimizer.step(closure)), parts


def passed_by_hand():
    """Two halves; the gradient at the boundary is passed on by hand, as a pipeline does."""
    parts = blocks(2)
    optimizer = sgd(parts)

    def step():
        h = parts[0](X)
        inner = h.detach().requires_grad_()
        loss_of(parts[1](inner)).backward()
        h.backward(inner.grad)
        optimizer.step()
        optimizer.zero_grad()

    return step, parts


HIDDEN = {
    "standardized": lambda: of(lambda: Standardized(D, D, bias=False)),
    "weight norm": lambda: of(lambda: nn.utils.parametrizations.weight_norm(plain())),
    "spectral norm": lambda: of(lambda: nn.utils.parametrizations.spectral_norm(plain())),
    "in place": lambda: of(plain, before=True),
    "stepped in backward": stepped_in_backward,
    "compiled": compiled,
}
"""Local all the same, with the twin of any other."""
