"""Data, network and length of the CPU protocol, for every benchmark that is read beside it."""

from __future__ import annotations

from protocol import Task

from layerlocal.spec import DataSpec, NetworkSpec, Recipe

NETWORK = NetworkSpec(name="vgg8", width=0.125, fused=True)
RECIPE = Recipe(epochs=10, batch_size=64, learning_rate=5e-3, crop=4, flip=True)
TASKS = (
    Task("cifar10", DataSpec(source="cifar10", num_train=10_000, num_test=10_000), NETWORK, RECIPE),
    Task(
        "cifar100",
        DataSpec(source="cifar100", num_train=20_000, num_test=10_000),
        NETWORK,
        RECIPE.model_copy(update={"epochs": 5}),
    ),
    Task(
        "caltech101_64",
        DataSpec(source="caltech101_224", image_size=64),
        NETWORK,
        RECIPE.model_copy(update={"crop": 6, "epochs": 3}),
    ),
    Task(
        "fashion_mnist",
        DataSpec(source="fashion_mnist_subset"),
        NETWORK,
        RECIPE.model_copy(update={"crop": 2, "epochs": 8}),
    ),
)


def smaller(task):
    """The same in seconds."""
    data = task.data.model_copy(update={"num_train": 400, "num_test": 200})
    network = task.network.model_copy(update={"width": 0.0625})
    return Task(task.name, data, network, task.recipe.model_copy(update={"epochs": 1}))


def task_named(name):
    return next(task for task in TASKS if task.name == name)
