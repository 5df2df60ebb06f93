"""Bad arguments in Python: every public name of `layerlocal`. `InputError` in one sentence that names the culprit, nothing left behind."""

from __future__ import annotations

import warnings

import pytest

import layerlocal

TABLE = r"""
load_data("nowhere")                                                                         | nowhere
load_data("./nowhere")                                                                       | nowhere
load_data("")                                                                                | data
load_data("cifar100x")                                                                       | cifar100x
load_data(Path("nowhere"))                                                                   | nowhere
load_data(Path("afile"))                                                                     | afile
load_data("a\0b")                                                                            | a\x00b
load_data("caf\udce9")                                                                       | caf
load_data("a" * 5000)                                                                        | aaaa
load_data(None)                                                                              | None
load_data(7)                                                                                 | 7
load_data(b"images")                                                                         | images
load_data("images", labels="fine")                                                           | fine
load_data("images", labels=3)                                                                | labels
load_data("images", classes=1)                                                               | classes
load_data("images", classes=3)                                                               | classes
load_data("images", classes=1.5)                                                             | classes
load_data("images", classes=[1.5, 2])                                                        | 1.5
load_data("images", classes=[0, 0])                                                          | 0
load_data("images", classes=[0, 2])                                                          | 2
load_data("images", classes=[])                                                              | classes
load_data("images", classes=["cat"])                                                         | classes
load_data("images", classes=["cat", "cow"])                                                  | cow
load_data("images", classes="cat")                                                           | classes
load_data("images", classes=True)                                                            | classes
load_data("images", classes=[True, False])                                                   | classes
load_data("images", image_size=0)                                                            | image_size
load_data("images", image_size=-8)                                                           | image_size
load_data("images", image_size=8.5)                                                          | image_size
load_data("images", image_size="8")                                                          | image_size
load_data("images", num_train=0)                                                             | num_train
load_data("images", num_train=-1)                                                            | num_train
load_data("images", num_train=1000)                                                          | num_train
load_data("images", num_train=3.5)                                                           | num_train
load_data("images", num_test=0)                                                              | num_test
load_data("images", num_test=1000)                                                           | num_test
load_data("images", validation=1)                                                            | validation
load_data("images", validation=-0.1)                                                         | validation
load_data("images", validation=float("nan"))                                                 | validation
load_data("images", validation="some")                                                       | validation
load_data("images", seed=1.5)                                                                | seed
load_data("images", seed=-1)                                                                 | seed
load_data("images", seed="x")                                                                | seed
load_data("images", draw="odd")                                                              | odd
load_data("images", draw="within")                                                           | within
load_data("images", draw="groups", classes=3)                                                | 3
load_data("images", superclass=1)                                                            | superclass
load_data("images", compose="under")                                                         | under
load_data("images", compose="side", held_out=1.0)                                            | held_out
load_data("images", compose="side", held_out=float("nan"))                                   | held_out
load_data("images", teacher={"dim": 4})                                                      | teacher
load_data("teacher_student", classes=1)                                                      | classes
load_data("teacher_student", classes=[0, 1])                                                 | classes
load_data("teacher_student", teacher={"foo": 1})                                             | foo
load_data("teacher_student", teacher={"dim": 0})                                             | dim
load_data("teacher_student", teacher={"dim": "x"})                                           | dim
load_data("teacher_student", teacher=3)                                                      | teacher
load_data("teacher_student", num_train=1)                                                    | num_train
load_data("teacher_student", image_size=8)                                                   | image_size
load_data("teacher_student", labels="fine")                                                  | labels

data_from_arrays(X, y[:-1])                                                                  | y
data_from_arrays(X, np.stack([y, y], 1))                                                     | y
data_from_arrays(X, [0] * len(y))                                                            | class
data_from_arrays(X[:0], y[:0])                                                               | shape
data_from_arrays(X[0], y)                                                                    | shape
data_from_arrays(np.where(X > 1, np.nan, X), y)                                              | finite
data_from_arrays(X * 1e300, y)                                                               | finite
data_from_arrays(X.astype(complex), y)                                                       | complex
data_from_arrays(X.astype(str), y)                                                           | numbers
data_from_arrays([[1.0, 2.0], [3.0]], [0, 1])                                                | samples
data_from_arrays(np.zeros((8, 1, 4, 6)), y[:8])                                              | square
data_from_arrays(None, y)                                                                    | samples
data_from_arrays(X, None)                                                                    | y
data_from_arrays(X, np.where(y == 0, np.nan, y))                                             | nan
data_from_arrays(X, np.linspace(0, 1, len(y)))                                               | label
data_from_arrays(X, [None, *y[1:]])                                                          | label
data_from_arrays(X, ["a", *y[1:].tolist()])                                                  | label
data_from_arrays(X, y, validation=1.0)                                                       | validation
data_from_arrays(X, y, validation=-1)                                                        | validation
data_from_arrays(X, y, validation=float("nan"))                                              | validation
data_from_arrays(X, y, validation="x")                                                       | validation
data_from_arrays(X, y, seed="x")                                                             | seed
data_from_arrays(X, y, seed=-1)                                                              | seed

data_from_splits("mine", split(y=[0, 0, 0]), split())                                        | class
data_from_splits("mine", split(), split(y=[0, 1, 2, 3]))                                     | 3
data_from_splits("mine", split(y=[0, 1, 5, 5]), split())                                     | 2
data_from_splits("mine", split(y=[-1, 0, 1, 2]), split())                                    | -1
data_from_splits("mine", split(), split(y=[-1, 0, 1, 2]))                                    | -1
data_from_splits("mine", split(), split(shape=(7,)))                                         | 7
data_from_splits("mine", split(), split(), validation=split(shape=(7,)))                     | 7
data_from_splits("mine", split(), split(), validation=split(y=[0, 1, 2, 9]))                 | 9
data_from_splits("mine", split(), split(), class_names=("a",))                               | class_names
data_from_splits("mine", split(value=float("nan")), split())                                 | finite
data_from_splits("mine", split(), split(value=float("inf")))                                 | finite
data_from_splits("mine", split(y=[]), split())                                               | train
data_from_splits("mine", split(), split(y=[]))                                               | test
data_from_splits("mine", None, split())                                                      | train
data_from_splits("mine", split(), (X, y))                                                    | test
Split(torch.zeros(4, 5), torch.zeros(3, dtype=torch.int64))                                  | labels
Split(torch.zeros(4, 5), torch.zeros(4))                                                     | labels
Split(torch.zeros(4), torch.zeros(4, dtype=torch.int64))                                     | images
Split([[1.0]], torch.zeros(1, dtype=torch.int64))                                            | images

Augment(crop=-1)                                                                             | crop
Augment(cutout=-1)                                                                           | cutout
Augment(crop=1.5)                                                                            | crop
Augment(crop="x")                                                                            | crop
Batches(split(), batch_size=0, mean=zeros(5), std=ones(5), shuffle=False)                    | batch_size
Batches(split(), batch_size=1.5, mean=zeros(5), std=ones(5), shuffle=False)                  | batch_size
Batches(split(), batch_size=9, mean=zeros(5), std=ones(5), shuffle=False, drop_last=True)    | batch_size
Batches(split(), batch_size=2, mean=zeros(3), std=ones(5), shuffle=False)                    | mean
Batches(split(), batch_size=2, mean=zeros(5), std=zeros(5), shuffle=False)                   | std
Batches(split(), batch_size=2, mean=zeros(5), std=ones(5), shuffle=False, augment=Augment(crop=1))  | crop
Batches(split(), batch_size=2, mean=zeros(5), std=ones(5), shuffle=False, device="gpu")      | gpu

create_network("vgg", in_channels=3, image_size=8)                                           | vgg
create_network("", in_channels=3, image_size=8)                                              | network
create_network(None, in_channels=3, image_size=8)                                            | None
create_network("mlp", in_channels=0, image_size=1)                                           | in_channels
create_network("mlp", in_channels=-3, image_size=1)                                          | in_channels
create_network("mlp", in_channels=2.5, image_size=1)                                         | in_channels
create_network("mlp", in_channels="3", image_size=1)                                         | in_channels
create_network("mlp", in_channels=3, image_size=0)                                           | image_size
create_network("vgg8", in_channels=3, image_size=-8)                                         | image_size
create_network("cnn4", in_channels=3, image_size=8, width=0)                                 | width
create_network("cnn4", in_channels=3, image_size=8, width=-1)                                | width
create_network("cnn4", in_channels=3, image_size=8, width=float("nan"))                      | width
create_network("cnn4", in_channels=3, image_size=8, width=float("inf"))                      | width
create_network("cnn4", in_channels=3, image_size=8, width="wide")                            | width
create_network("mlp", in_channels=3, image_size=1, depth=0)                                  | depth
create_network("mlp", in_channels=3, image_size=1, depth=-1)                                 | depth
create_network("mlp", in_channels=3, image_size=1, depth=2.5)                                | depth
create_network("mlp", in_channels=3, image_size=1, depth=10**9)                              | depth
create_network("mlp", in_channels=3, image_size=1, hidden=0)                                 | hidden
create_network("mlp", in_channels=3, image_size=1, hidden=-5)                                | hidden
create_network("mlp", in_channels=3, image_size=1, hidden=10**30)                            | hidden
create_network("mlp", in_channels=3, image_size=1, norm="odd")                               | norm
create_network("mlp", in_channels=3, image_size=1, foo=1)                                    | foo
create_network("cnn4", in_channels=3, image_size=8, stem="odd")                              | stem
Network([], sample_shape=(3,))                                                               | block
Network([nn.Linear(4, 4)], sample_shape=(3,))                                                | block0
Network([nn.Linear(3, 4), nn.Linear(5, 4)], sample_shape=(3,))                               | block1
Network([nn.LSTM(3, 4)], sample_shape=(3,))                                                  | block0
Network(["linear"], sample_shape=(3,))                                                       | block0
Network([nn.Linear(3, 4)], sample_shape=(0,))                                                | (0,)
Network([nn.Linear(3, 4)], sample_shape=())                                                  | ()
Network([nn.Linear(3, 4).double()], sample_shape=(3,))                                       | float64
Network.from_module(nn.Sequential(nn.Linear(3, 4)), ["5"], sample_shape=(3,))                | 5
Network.from_module(nn.Sequential(nn.Tanh(), nn.ReLU()), ["1"], sample_shape=(3,))           | '0'
Network.from_module(nn.Sequential(nn.Linear(3, 4)), [["0", nn.ReLU]], sample_shape=(3,))     | ReLU
Network.from_module(nn.Sequential(nn.Linear(3, 4)), ["0", lambda x: None], sample_shape=(3,)) | lambda
load_weights(network(), "away")                                                              | away
load_weights(network(), "a\0b")                                                              | a\x00b
load_weights(network(), None)                                                                | None
fit("local-heads", data, network=network(), blocks=3)                                        | 3
fit("local-heads", data, network=network(), blocks=["local", None])                          | None
fit("local-heads", data, network=network(), start=7)                                         | 7
Network.from_module(nn.Sequential(nn.Linear(3, 4)), [], sample_shape=(3,))                   | block
Network.from_module(nn.Linear(3, 4), [""], sample_shape=(3,))                                | submodule
Network.from_module("module", ["0"], sample_shape=(3,))                                      | str

study("nothing")                                                                             | nothing
study(None)                                                                                  | None
study(["classes"])                                                                           | classes
study("classes", size="big")                                                                 | big
study("classes", size=3)                                                                     | size
study("classes", rules=[])                                                                   | rules
study("classes", rules="nowhere")                                                            | nowhere
study("classes", rules=["bp"])                                                               | bp
study("classes", rules=3)                                                                    | rules
study("classes", rules=[3])                                                                  | 3
study("classes", rules={"class-goodness"})                                                           | rules
study("classes", rules="")                                                                   | rules
study("classes", seeds=0)                                                                    | seeds
study("classes", seeds=1.5)                                                                  | seeds
study("classes", seeds=True)                                                                 | seeds
study("classes", seeds=10**6)                                                                | seeds
study("classes", data="nowhere")                                                             | nowhere
study("classes", data=7)                                                                     | data
study("classes", reread="no")                                                                | reread
study("classes", workers=0)                                                                  | workers
study("classes", workers=10**6)                                                              | workers
study("classes", workers="2")                                                                | workers
study("classes", ray=3)                                                                      | ray
study("classes", device="gpu")                                                               | gpu
study("classes", device=None)                                                                | None
study("classes", out=None)                                                                   | out
study("classes", out="")                                                                     | out
study("classes", out="afile")                                                                | afile
study("classes", out=Path("afile") / "runs")                                                 | afile
study("classes", verbose=1)                                                                  | verbose
study("classes", seeds=[])                                                                   | seeds
study("classes", seeds=[0, -1])                                                              | seeds
study("classes", settings={"nothing": 1})                                                    | nothing
study("classes", settings=3)                                                                 | settings
study("composition", network="nowhere")                                                      | nowhere
study("classes", width="x")                                                                  | width
study("classes", width=1, settings={"network.width": 2})                                     | width
study("composition", controls=1)                                                             | controls
audit(network=3)                                                                             | network
audit(settings={"seed": 3})                                                                  | seed
audit("nowhere")                                                                             | nowhere
audit("bp")                                                                                  | bp
audit(data="nowhere")                                                                        | nowhere
audit(data=None)                                                                             | data
audit(size="medium")                                                                         | medium
audit(seeds=0)                                                                               | seeds
audit(workers=-1)                                                                            | workers
audit(device="tpu")                                                                          | tpu
audit(controls="no")                                                                         | controls
audit(out="afile")                                                                           | afile
cost("medium")                                                                               | medium
cost(3)                                                                                      | size
cost(rules="nowhere")                                                                        | nowhere
cost(modes="slow")                                                                           | slow
cost(parts="nothing")                                                                        | nothing
cost(memory="much")                                                                          | much
cost(memory=3)                                                                               | memory
cost(repeats=0)                                                                              | repeats
cost(rounds=1.5)                                                                             | rounds
cost(network="nowhere")                                                                      | nowhere
cost(network=3)                                                                              | network
cost(width="x")                                                                              | width
cost(width=float("nan"))                                                                     | width
cost(depth=0)                                                                                | depth
cost(image_size=0)                                                                           | image_size
cost(batch_size=1)                                                                           | batch_size
cost(num_classes=1)                                                                          | num_classes
cost(precision="float8")                                                                     | float8
cost(compile=1)                                                                              | compile
cost(fused=None)                                                                             | fused
cost(device="gpu")                                                                           | gpu
cost(threads=0)                                                                              | threads
cost(out="afile")                                                                            | afile
tune("nowhere")                                                                              | nowhere
tune([])                                                                                     | rules
tune(space="rule.grid")                                                                      | rule.grid
tune(space=3)                                                                                | space
tune(trials=0)                                                                               | trials
tune(trials=1.5)                                                                             | trials
tune(seeds=0)                                                                                | seeds
tune(sampler="grid")                                                                         | grid
tune(sampler=None)                                                                           | sampler
tune(data="nowhere")                                                                         | nowhere
tune(network="nowhere")                                                                      | nowhere
tune(width=-1)                                                                               | width
tune(epochs=-1)                                                                              | epochs
tune(settings=3)                                                                             | settings
tune(settings={3: 3})                                                                        | settings
tune(settings={"nothing": 3})                                                                | nothing
tune(width=0.5, settings={"network.width": 1})                                               | width
tune(seed=-1)                                                                                | seed
tune(workers=0)                                                                              | workers
tune(out="afile")                                                                            | afile
judge(None)                                                                                  | out
judge("afile")                                                                               | afile
judge(rule="nowhere")                                                                        | nowhere
judge(rule=3)                                                                                | rule
judge(claims="P99")                                                                          | P99
judge(claims=3)                                                                              | claims
judge(files="nowhere.yaml")                                                                  | nowhere.yaml
judge(files=3)                                                                               | files
judge(alpha=0)                                                                               | alpha
judge(alpha=0.6)                                                                             | alpha
judge(alpha="x")                                                                             | alpha
twins("nowhere", network(), num_classes=3)                                                   | nowhere
twins("bp", network(), num_classes=3)                                                        | bp
twins(None, network(), num_classes=3)                                                        | None
twins("class-goodness", "mlp", num_classes=3)                                                        | network
twins("class-goodness", network(), num_classes=1)                                                    | num_classes
twins("class-goodness", network(), num_classes=3, seed=-1)                                           | seed
twins("class-goodness", network(), num_classes=3, grd=2)                                             | grd
evaluate(None, data)                                                                         | model
evaluate("class-goodness", data)                                                                     | model
evaluate(rule(), X)                                                                          | data
evaluate(rule(), data, split="all")                                                          | all
evaluate(rule(), data, split=["test"])                                                       | test
evaluate(rule(), data, split="test")                                                         | test
evaluate(rule(), data, device="gpu")                                                         | gpu
evaluate(rule(inputs=4), data)                                                               | (4,)
evaluate(nn.Linear(5, 2), data)                                                              | (B, K)

network_options("nowhere")                                                                   | nowhere
network_options(None)                                                                        | None
network_options(["mlp"])                                                                     | mlp
rule_options("nowhere")                                                                      | nowhere
rule_options(None)                                                                           | None
rule_options(dict)                                                                           | dict
rule_options("nowhere.py:Rule")                                                              | nowhere.py

create_rule("nothing", network(), num_classes=3)                                             | nothing
create_rule("", network(), num_classes=3)                                                    | rule
create_rule(None, network(), num_classes=3)                                                  | None
create_rule(int, network(), num_classes=3)                                                   | int
create_rule("nothing.py:Mine", network(), num_classes=3)                                     | nothing.py
create_rule("mine.py:Other", network(), num_classes=3)                                       | Other
create_rule("mine.py", network(), num_classes=3)                                             | mine.py
create_rule("a\0b.py:Mine", network(), num_classes=3)                                        | a\x00b
create_rule("caf\udce9.py:Mine", network(), num_classes=3)                                   | caf
create_rule("class-goodness", None, num_classes=3)                                                   | network
create_rule("class-goodness", nn.Linear(5, 4), num_classes=3)                                        | Linear
create_rule("class-goodness", network(), num_classes=1)                                              | num_classes
create_rule("class-goodness", network(), num_classes=2.5)                                            | num_classes
create_rule("class-goodness", network(), num_classes="3")                                            | num_classes
create_rule("class-goodness", network(), num_classes=True)                                           | num_classes
create_rule("class-goodness", network(), num_classes=3, foo=1)                                       | foo
create_rule("class-goodness", network(), num_classes=3, grid="x")                                    | grid
create_rule("class-goodness", network(), num_classes=3, grid=0)                                      | grid
create_rule("class-goodness", network(), num_classes=3, temperature_max=float("nan"))                | temperature_max
create_rule("class-goodness", network(), num_classes=3, temperature_max=-1.0)                        | temperature_max
create_rule("class-goodness", network(), num_classes=3, fusion="odd")                                | odd
create_rule("class-goodness", network(), num_classes=3, label_smoothing=1.0)                         | label_smoothing
create_rule("bp", network(), num_classes=3, of="nothing")                                    | nothing
create_rule("bp", network(), num_classes=3, of="bp")                                         | bp
create_rule("segmented", network(), num_classes=3, segment_size=0)                           | segment_size
create_rule("cwcomp", network(), num_classes=3)                                              | evenly
register_rule(int)                                                                           | int
register_rule(type("Bare", (BlockwiseRule,), {}))                                            | info
RuleInfo(name="mine", locality="blocks")                                                     | blocks
RuleInfo(name="", locality="block")                                                          | name
RuleInfo(name=3, locality="block")                                                           | name
BlockwiseRule(network(), num_classes=1)                                                      | num_classes
BlockwiseRule(network(), num_classes=3, fusion="odd")                                        | odd
BlockwiseRule(network(), num_classes=3, label_smoothing=-1)                                  | label_smoothing
BlockwiseRule(None, num_classes=3)                                                           | network
Rule(None, num_classes=3)                                                                    | network
Rule(network(), num_classes=0)                                                               | num_classes
SpatialReadout((4, 8, 8), 3, statistic="odd")                                                | odd
SpatialReadout((4, 8, 8), 3, grid=0)                                                         | grid
SpatialReadout((4, 8, 8), 3, grid=1.5)                                                       | grid
SpatialReadout((4, 8), 3)                                                                    | 8
SpatialReadout((4, 8, 8), 0)                                                                 | num_classes
SpatialReadout((4, 8, 8), 6, factors="2x2")                                                  | 2x2
SpatialReadout((4, 8, 8), 6, factors="odd")                                                  | odd

fit("nothing", data)                                                                         | nothing
fit(None, data)                                                                              | None
fit("class-goodness", None)                                                                          | data
fit("class-goodness", "images")                                                                      | data
fit("class-goodness", (X,))                                                                          | data
fit("class-goodness", (X, y, X))                                                                     | data
fit("class-goodness", (X, np.where(y == 0, np.nan, y)))                                              | nan
fit("class-goodness", (X, np.linspace(0, 1, len(y))))                                                | label
fit("class-goodness", data, 3)                                                                       | recipe
fit("class-goodness", data, {"epochs": 1})                                                           | recipe
fit("class-goodness", data, network="nothing")                                                       | nothing
fit("class-goodness", data, network=network(inputs=7))                                               | 7
fit("class-goodness", data, network=nn.Linear(5, 4))                                                 | Linear
fit("class-goodness", data, network=network(), width=2)                                              | width
fit("class-goodness", data, width=0)                                                                 | width
fit("class-goodness", data, width="wide")                                                            | width
fit("class-goodness", data, network_options={"foo": 1})                                              | foo
fit("class-goodness", data, network_options=3)                                                       | network_options
fit("class-goodness", (X, y), validation=1.0)                                                        | validation
fit("class-goodness", data, small, seed=1.5)                                                         | seed
fit("class-goodness", data, small, seed=-1)                                                          | seed
fit("class-goodness", data, device="gpu")                                                            | gpu
fit("class-goodness", data, device="cuda:99")                                                        | cuda:99
fit("class-goodness", data, device=3)                                                                | device
fit("class-goodness", data, foo=1)                                                                   | foo
fit("class-goodness", data, small, on_epoch=3)                                                       | on_epoch
fit(rule(), data, network="mlp")                                                             | network
fit(rule(), data, grid=2)                                                                    | grid
fit(rule(classes=2), data)                                                                   | 3
fit(rule(inputs=7), data)                                                                    | 7
fit("class-goodness", data, Recipe(batch_size=1000))                                                 | batch_size
fit("class-goodness", data, Recipe(batch_size=8, crop=2))                                            | crop
fit("class-goodness", data, Recipe(batch_size=8, micro_batches=99))                                  | micro_batches
fit("class-goodness", data, Recipe(epochs=1, batch_size=8, learning_rate=1e30))                      | loss

evaluate_split(None, data, data.train)                                                       | rule
evaluate_split(rule(), None, data.train)                                                     | data
evaluate_split(rule(), data, None)                                                           | split
evaluate_split(rule(inputs=7), data, data.train)                                             | 7
evaluate_split(rule(classes=2), data, data.train)                                            | 2
evaluate_split(rule(), data, data.train, device="gpu")                                       | gpu
evaluate_split(rule(), data, split(y=[], shape=(5,)))                                        | split
measure_flops(None, x, labels)                                                               | rule
measure_flops(rule(), x[:, :3], labels)                                                      | 3
measure_flops(rule(), x, labels[:2])                                                         | y
measure_flops(rule(), x, labels + 7)                                                         | label
measure_flops(rule(), X[:4], labels)                                                         | x
measure_locality(None, x, labels)                                                            | rule
measure_locality(rule(), x[:, :3], labels)                                                   | 3
measure_locality(rule(), x, labels.float())                                                  | y
measure_locality(rule(), x[:0], labels[:0])                                                  | x
measure_saved_bytes(None, x, labels)                                                         | rule
measure_saved_bytes(rule(), x[:, :3], labels)                                                | 3
measure_saved_bytes(rule(), x, labels + 7)                                                   | label
measure_speed({}, batch_size=4)                                                              | step
measure_speed({"a": None}, batch_size=4)                                                     | a
measure_speed({"a": step}, batch_size=0)                                                     | batch_size
measure_speed({"a": step}, batch_size=4, repeats=0)                                          | repeats
measure_speed({"a": step}, batch_size=4, warm_up=-1)                                         | warm_up
measure_speed({"a": step}, batch_size=4, device="gpu")                                       | gpu

check_rule("nothing")                                                                        | nothing
check_rule("")                                                                               | rule
check_rule(None)                                                                             | None
check_rule("class-goodness", foo=1)                                                                  | foo
check_rule("class-goodness", grid="x")                                                               | grid
check_rule("mine.py:Other")                                                                  | Other

DataSpec(source=3)                                                                           | source
DataSpec(source="caf\udce9")                                                                 | source
DataSpec(foo=1)                                                                              | foo
DataSpec(classes=1.5)                                                                        | classes
DataSpec(classes="ten")                                                                      | classes
DataSpec(num_train=0)                                                                        | num_train
DataSpec(validation=float("nan"))                                                            | validation
DataSpec(teacher={"dim": [1]})                                                               | teacher
DataSpec(seed=1.5)                                                                           | seed
DataSpec(draw="odd")                                                                         | draw
NetworkSpec(name=None)                                                                       | name
NetworkSpec(width=0)                                                                         | width
NetworkSpec(width=float("inf"))                                                              | width
NetworkSpec(options={"depth": [2]})                                                          | depth
NetworkSpec(options=[1])                                                                     | options
NetworkSpec(options={3: 4})                                                                  | options
RuleSpec(name=3)                                                                             | name
RuleSpec(options={"grid": float("nan")})                                                     | grid
RuleSpec(options={"grid": None, "a": {}})                                                    | a
Recipe(epochs=0)                                                                             | epochs
Recipe(epochs=True)                                                                          | epochs
Recipe(batch_size=1)                                                                         | batch_size
Recipe(learning_rate=float("inf"))                                                           | learning_rate
Recipe(optimizer="lion")                                                                     | optimizer
Recipe(warmup=1.0)                                                                           | warmup
Recipe(foo=1)                                                                                | foo
RunSpec(seed=-1)                                                                             | seed
RunSpec(seed=10**30)                                                                         | seed
RunSpec(data="images")                                                                       | data
RunSpec(judged_on="train")                                                                   | judged_on
RunSpec().with_settings({"rule": 3})                                                         | rule
RunSpec().with_settings({"foo.bar": 3})                                                      | foo.bar
RunSpec().with_settings({"recipe.epochs": "x"})                                              | epochs
RunSpec().with_settings({3: 4})                                                              | 3
RunSpec().with_settings({"rule.grid": deep})                                                 | nested

RunStore("a\0b").finished()                                                                  | a\x00b
RunStore("nowhere").finished()                                                               | nowhere
RunStore("afile").finished()                                                                 | afile
RunStore("afile").prepare()                                                                  | afile
RunStore("").prepare()                                                                       | folder
RunStore(None)                                                                               | None
RunStore("runs").load("nothing")                                                             | nothing
RunStore("runs").load("")                                                                    | run
RunStore("runs").load("../x")                                                                | ../x
RunStore("runs").load(None)                                                                  | None
RunStore("nowhere").load("abc")                                                              | nowhere
RunStore("runs").metrics("nothing")                                                          | nothing
load_runs("nowhere")                                                                         | nowhere
load_runs("afile")                                                                           | afile
load_runs("empty")                                                                           | empty
load_runs(None)                                                                              | NoneType
load_runs("a\0b")                                                                            | no run store
load_runs("images/train/cat/0.png")                                                          | 0.png
load_runs("parquet/train-00000-of-00001.parquet")                                            | train-00000
run_spec(None, store)                                                                        | spec
run_spec(TINY, None)                                                                         | store
run_spec(TINY, "runs")                                                                       | store
run_spec(other(rule="nothing"), store)                                                       | nothing
run_spec(other(network="nothing"), store)                                                    | nothing
run_spec(other(data="nowhere"), store)                                                       | nowhere
run_spec(other(protocol=99), store)                                                          | protocol
run_spec(other(rule="nothing.py:Mine"), store)                                               | nothing.py
run_spec(other(seed=1), store, device="gpu")                                                 | gpu
run_spec(other(seed=1), store, device="cuda:99")                                             | cuda:99
run_spec(other(seed=1), RunStore("afile"))                                                   | afile
run_many(None, store)                                                                        | RunSpec
run_many([None], store)                                                                      | RunSpec
run_many([TINY], None)                                                                       | RunStore
run_many([TINY], store, workers=0)                                                           | workers
run_many([TINY], store, workers=-1)                                                          | workers
run_many([TINY], store, workers=1.5)                                                         | workers
run_many([TINY], store, threads=0)                                                           | threads
run_many([other(seed=1)], store, device="gpu")                                               | gpu
run_many([TINY], store, gpus=-1.0)                                                           | gpus

fit("class-goodness", data, logger=3)                                                        | logger
fit("class-goodness", data, logger="csv")                                                    | csv
fit("class-goodness", data, logger=CsvLogger)                                                | CsvLogger
run_spec(other(seed=1), store, logger=3)                                                     | logger
CsvLogger("")                                                                                | log
CsvLogger(3)                                                                                 | 3
CsvLogger("images")                                                                          | images
CsvLogger("a\0b")                                                                            | a\x00b
TensorBoardLogger(3)                                                                         | 3
WandbLogger(folder=3)                                                                        | 3

certify(3, nn.Linear(2, 2))                                                                      | step
certify(print, 5)                                                                                | groups
certify(print, [])                                                                               | groups

LayerLocalClassifier(rule="nothing").fit(X, y)                                               | nothing
LayerLocalClassifier(network="nothing").fit(X, y)                                            | nothing
LayerLocalClassifier(width=0).fit(X, y)                                                      | width
LayerLocalClassifier(epochs=0).fit(X, y)                                                     | epochs
LayerLocalClassifier(batch_size=0).fit(X, y)                                                 | batch_size
LayerLocalClassifier(learning_rate=-1).fit(X, y)                                             | learning_rate
LayerLocalClassifier(validation_fraction=1.0).fit(X, y)                                      | validation
LayerLocalClassifier(recipe_options={"foo": 1}).fit(X, y)                                    | foo
LayerLocalClassifier(recipe_options=3).fit(X, y)                                             | recipe_options
LayerLocalClassifier(network_options={"foo": 1}).fit(X, y)                                   | foo
LayerLocalClassifier(rule_options={"foo": 1}).fit(X, y)                                      | foo
LayerLocalClassifier(device="gpu").fit(X, y)                                                 | gpu
LayerLocalClassifier(network=nn.Linear(5, 4)).fit(X, y)                                      | Linear
LayerLocalClassifier(start=nn.Linear(5, 4)).fit(X, y)                                        | Linear
LayerLocalClassifier(start=7).fit(X, y)                                                      | 7
LayerLocalClassifier(start="nowhere.pt").fit(X, y)                                           | nowhere.pt
LayerLocalClassifier(start=LayerLocalClassifier()).fit(X, y)                                 | start
LayerLocalClassifier(blocks="odd").fit(X, y)                                                 | odd
LayerLocalClassifier(blocks=3).fit(X, y)                                                     | 3
LayerLocalClassifier(blocks="9 local").fit(X, y)                                             | 9
LayerLocalClassifier().fit(X, [0] * len(y))                                                  | class
"""

CASES = [
    pytest.param(call.strip(), culprit.strip(), id=call.strip()[:90])
    for call, _, culprit in (line.rpartition("|") for line in TABLE.strip().splitlines() if line.strip())
]


@pytest.mark.parametrize(("call", "culprit"), CASES)
def test_a_bad_argument_is_one_sentence(reject, inside, names, call, culprit):
    made = {"store": layerlocal.RunStore(inside / "runs")}
    assert culprit in reject(lambda: eval(call, names | made))


def test_every_public_name_is_in_the_table():
    """But for what takes no argument, or is only handed out."""
    handed_out = {
        "CheckResult",
        "Data",
        "Evaluation",
        "Fitted",
        "RunRecord",
        "Summary",
        "Twins",
        "BlockLoss",
        "InputError",
        "Locality",
        "Logger",
    }
    silent = {"list_data", "list_networks", "list_rules", "__version__"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        missing = {
            name
            for name in layerlocal.__all__
            if not any(f"{name}(" in call or f"{name}." in call for call in TABLE.split("\n"))
        }
    assert missing <= handed_out | silent, sorted(missing - handed_out - silent)
