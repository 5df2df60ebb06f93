"""What is refused: field, kind and call. What each says is in ``tests/sentences.yaml``, under the same field and kind."""

from __future__ import annotations

TABLE = r"""
data            | unknown                 | load_data("cifar100x")
data            | empty name              | load_data("")
data            | no name                 | load_data(7)
data            | no folder               | load_data("./nowhere")
data            | a file                  | load_data("afile")
data            | a file to fetch         | load_data("pathmnist")
data            | empty folder            | load_data("empty")
labels          | no text                 | load_data("images", labels=3)
labels          | unknown column          | load_data("images", labels="fine")
classes         | too few named           | load_data("images", classes=["cat"])
classes         | too many                | load_data("images", classes=3)
classes         | no whole number         | load_data("images", classes=1.5)
classes         | named twice             | load_data("images", classes=[0, 0])
classes         | no such index           | load_data("images", classes=[0, 2])
classes         | no such name            | load_data("images", classes=["cat", "cow"])
classes         | one name                | load_data("images", classes="cat")
classes         | no index                | load_data("images", classes=[1.5, 2])
image_size      | too small               | load_data("images", image_size=0)
num_train       | too few                 | load_data("images", num_train=0)
num_train       | too many                | load_data("images", num_train=1000)
num_train       | no whole number         | load_data("images", num_train=3.5)
validation      | no share                | load_data("images", validation=1)
validation      | not finite              | load_data("images", validation=float("nan"))
draw            | unknown                 | load_data("images", draw="odd")
draw            | without classes         | load_data("images", draw="within")
draw            | no groups               | load_data("images", draw="groups", classes=3)
superclass      | without draw            | load_data("images", superclass=1)
compose         | unknown                 | load_data("images", compose="under")
held_out        | no share                | load_data("images", compose="side", held_out=1.0)
teacher         | of other data           | load_data("images", teacher={"dim": 4})
teacher         | unknown option          | load_data("teacher_student", teacher={"foo": 1})
teacher         | no dictionary           | load_data("teacher_student", teacher=3)
image_size      | of no images            | load_data("teacher_student", image_size=8)
classes         | of teacher_student      | load_data("teacher_student", classes=1)

y               | another length          | data_from_arrays(X, y[:-1])
y               | several columns         | data_from_arrays(X, np.stack([y, y], 1))
y               | one class               | data_from_arrays(X, [0] * len(y))
y               | a label is missing      | data_from_arrays(X, [None, *y[1:]])
y               | real numbers            | data_from_arrays(X, [0.5, *y[1:]])
y               | numbers and text        | data_from_arrays(X, ["a", *y[1:].tolist()])
samples         | no samples              | data_from_arrays(X[:0], y[:0])
samples         | not finite              | data_from_arrays(X * 1e300, y)
samples         | no numbers              | data_from_arrays(X.astype(complex), y)
samples         | not square              | data_from_arrays(np.zeros((8, 1, 4, 6)), y[:8])
train           | one class               | data_from_splits("mine", split(y=[0, 0, 0]), split())
train           | a class without sample  | data_from_splits("mine", split(y=[0, 1, 5, 5]), split())
train           | below 0                 | data_from_splits("mine", split(y=[-1, 0, 1, 2]), split())
train           | empty                   | data_from_splits("mine", split(y=[]), split())
train           | no Split                | data_from_splits("mine", None, split())
train           | not finite              | data_from_splits("mine", split(value=float("nan")), split())
test            | more classes            | data_from_splits("mine", split(), split(y=[0, 1, 2, 3]))
test            | another shape           | data_from_splits("mine", split(), split(shape=(7,)))
class_names     | another number          | data_from_splits("mine", split(), split(), class_names=("a",))
labels          | another length          | Split(torch.zeros(4, 5), torch.zeros(3, dtype=torch.int64))
labels          | no whole numbers        | Split(torch.zeros(4, 5), torch.zeros(4))
images          | another shape           | Split(torch.zeros(4), torch.zeros(4, dtype=torch.int64))
images          | no tensor               | Split([[1.0]], torch.zeros(1, dtype=torch.int64))
crop            | below 0                 | Augment(crop=-1)
crop            | for vectors             | Batches(split(), batch_size=2, mean=zeros(5), std=ones(5), shuffle=False, augment=Augment(crop=1))
batch_size      | below 1                 | Batches(split(), batch_size=0, mean=zeros(5), std=ones(5), shuffle=False)
batch_size      | too large               | Batches(split(), batch_size=9, mean=zeros(5), std=ones(5), shuffle=False, drop_last=True)
mean            | another length          | Batches(split(), batch_size=2, mean=zeros(3), std=ones(5), shuffle=False)
std             | a 0                     | Batches(split(), batch_size=2, mean=zeros(5), std=zeros(5), shuffle=False)

folder          | no test split           | folder no_test_split
folder          | images without classes  | folder images_without_classes
folder          | one class               | folder one_class
folder          | an empty class          | folder an_empty_class
folder          | text that is called an image| folder text_that_is_called_an_image
folder          | a broken link           | folder a_broken_link
folder          | images of two sizes     | folder images_of_two_sizes
folder          | images of another size to test| folder images_of_another_size_to_test
folder          | images that are not square| folder images_that_are_not_square
folder          | a link to a folder above| folder a_link_to_a_folder_above
table           | no label                | table no label
table           | no image                | table no image
table           | no label in the test table| table no label in the test table
table           | labels of real numbers  | table labels of real numbers
table           | labels of lists         | table labels of lists
table           | a label is missing      | table a label is missing
table           | two candidates for the label| table two candidates for the label
table           | two candidates for the image| table two candidates for the image
table           | an image is missing     | table an image is missing
table           | an image that is none   | table an image that is none
table           | no row                  | table no row
table           | class names that differ | table class names that differ
table           | fewer class names than classes| table fewer class names than classes
file of arrays  | no labels to test       | arrays no labels to test
file of arrays  | labels of val alone     | arrays labels of val alone
file of arrays  | several labels an image | arrays several labels an image
file of arrays  | real labels             | arrays real labels
file of arrays  | a label below 0         | arrays a label below 0
file of arrays  | fewer labels than images| arrays fewer labels than images
file of arrays  | volumes                 | arrays volumes
file of arrays  | images of real numbers  | arrays images of real numbers
file of arrays  | no image                | arrays no image
file of arrays  | pickled labels          | arrays pickled labels
file of arrays  | images of two sizes     | arrays images of two sizes

network         | unknown                 | create_network("vgg9", in_channels=3, image_size=8)
network         | no name                 | create_network(3, in_channels=3, image_size=8)
network         | unknown option          | create_network("mlp", in_channels=3, image_size=1, dept=1)
network         | no Network              | create_rule("class-goodness", nn.Linear(5, 4), num_classes=3)
network         | other samples           | fit("class-goodness", data, network=network(inputs=7))
network         | beside a rule           | fit(rule(), data, network="mlp")
width           | of a network made       | fit("class-goodness", data, network=network(), width=2)
width           | not positive            | create_network("cnn4", in_channels=3, image_size=8, width=-1)
width           | no number               | create_network("cnn4", in_channels=3, image_size=8, width="wide")
depth           | out of range            | create_network("mlp", in_channels=3, image_size=1, depth=0)
depth           | no whole number         | create_network("mlp", in_channels=3, image_size=1, depth=2.5)
blocks          | none                    | Network([], sample_shape=(3,))
blocks          | no module               | Network(["linear"], sample_shape=(3,))
blocks          | float64                 | Network([nn.Linear(3, 4).double()], sample_shape=(3,))
blocks          | one left out            | Network.from_module(nn.Sequential(nn.Tanh(), nn.Tanh(), nn.Tanh()), ["0", "2"], sample_shape=(3,))
blocks          | backwards               | Network.from_module(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), ["1", "0"], sample_shape=(3,))
blocks          | one in another          | Network.from_module(nn.Sequential(nn.Sequential(nn.Linear(3, 3))), ["0", "0.0"], sample_shape=(3,))
blocks          | none named              | Network.from_module(nn.Linear(3, 4), [nn.Linear(3, 4)], sample_shape=(3,))
blocks          | never called            | Network.from_module(nn.TransformerEncoderLayer(4, 2), ["self_attn.out_proj"], sample_shape=(2, 4))
blocks          | a function that fails   | Network.from_module(nn.Sequential(nn.Linear(3, 4)), [["0", torch.det]], sample_shape=(3,))
blocks          | another role            | fit("local-heads", data, network=network(), blocks="2 froze")
blocks          | roles of other blocks   | fit("local-heads", data, network=network(), blocks="9 local")
blocks          | roles of a twin         | fit("bp", data, network=network(), blocks="2 local")
blocks          | no such one to freeze   | network().freeze([7])
start           | no file                 | load_weights(network(), "away.safetensors")
start           | no weights in it        | load_weights(network(), "afile")
start           | other weights           | load_weights(network(), nn.Linear(3, 4))
start           | no module               | load_weights(network(), 3)
start           | a module without blocks | fit("local-heads", data, start=nn.Linear(3, 4))
start           | beside a rule           | fit(rule(), data, start=network())
blocks          | no submodule            | Network.from_module(nn.Sequential(nn.Linear(3, 4)), ["5"], sample_shape=(3,))
sample_shape    | a 0                     | Network([nn.Linear(3, 4)], sample_shape=(0,))

rule            | unknown                 | create_rule("dtgff", network(), num_classes=3)
rule            | no name                 | create_rule(None, network(), num_classes=3)
rule            | no file                 | create_rule("nothing.py:Mine", network(), num_classes=3)
rule            | file without class      | create_rule("mine.py", network(), num_classes=3)
rule            | no such class           | create_rule("mine.py:Other", network(), num_classes=3)
rule            | unknown option          | create_rule("segmented", network(), num_classes=3, segment=1)
rule            | no info                 | register_rule(type("Bare", (BlockwiseRule,), {}))
rule            | unknown locality        | RuleInfo(name="mine", locality="blocks")
rule            | twins of local-heads    | RuleInfo(name="mine", locality="block", twins_of="local-heads")
rule            | other classes           | fit(rule(classes=2), data)
rule            | no Rule                 | evaluate_split(None, data, data.train)
grid            | below 1                 | create_rule("class-goodness", network(), num_classes=3, grid=0)
grid            | no whole number         | create_rule("class-goodness", network(), num_classes=3, grid="x")
grid            | beside a rule           | fit(rule(), data, grid=2)
fusion          | unknown                 | create_rule("class-goodness", network(), num_classes=3, fusion="odd")
label_smoothing | out of range            | create_rule("class-goodness", network(), num_classes=3, label_smoothing=1.0)
temperature_max | below temperature_min   | create_rule("class-goodness", network(), num_classes=3, temperature_max=-1.0)
of              | a baseline              | create_rule("bp", network(), num_classes=3, of="bp")
num_classes     | too few                 | create_rule("class-goodness", network(), num_classes=1)
num_classes     | does not divide channels| create_rule("cwcomp", network(), num_classes=3)
factors         | no AxB                  | SpatialReadout((4, 8, 8), 6, factors="2x2")
rule file       | a module that is not there| rule an import that fails
rule file       | an import that leaves   | rule an import that leaves
rule file       | no class                | rule empty
rule file       | no info                 | rule a rule that declares nothing
rule file       | raises when it is made  | rule a rule that raises when it is made
rule file       | a loss of nothing       | rule a loss of nothing
rule file       | a loss without a graph  | rule a loss without a graph
rule file       | a loss of NaN           | rule a loss of NaN
rule file       | no loss at all          | rule no loss at all
rule file       | losses of an unknown block| rule losses of an unknown block
rule file       | losses of a block without a name| rule losses of a block without a name
rule file       | fused scores of another number of classes| rule fused scores of another number of classes
rule file       | fused scores of NaN     | rule fused scores of NaN
rule file       | a readout that does not exist| rule a readout that does not exist

data            | no data                 | fit("class-goodness", None)
recipe          | no Recipe               | fit("class-goodness", data, {"epochs": 1})
network_options | no dictionary           | fit("class-goodness", data, network_options=3)
batch_size      | more than samples       | fit("class-goodness", data, Recipe(batch_size=1000))
micro_batches   | no divisor              | fit("class-goodness", data, Recipe(batch_size=8, micro_batches=99))
learning_rate   | loss not finite         | fit("class-goodness", data, Recipe(epochs=1, batch_size=8, learning_rate=1e30))
on_epoch        | no function             | fit("class-goodness", data, small, on_epoch=3)
logger          | no Logger               | fit("class-goodness", data, small, logger=3)
logger          | a folder                | CsvLogger("images")
logger          | no name                 | CsvLogger(3)
seed            | no whole number         | fit("class-goodness", data, small, seed=1.5)
seed            | below 0                 | fit("class-goodness", data, small, seed=-1)
device          | unknown                 | fit("class-goodness", data, device="gpu")
device          | no name                 | fit("class-goodness", data, device=3)
split           | empty                   | evaluate_split(rule(), data, split(y=[], shape=(5,)))
split           | unknown                 | evaluate(rule(), data, split="all")
model           | a name                  | evaluate("class-goodness", data)
x               | another shape           | measure_flops(rule(), x[:, :3], labels)
y               | another number          | measure_flops(rule(), x, labels[:2])
y               | out of range            | measure_flops(rule(), x, labels + 7)

recipe.epochs   | below 1                 | RunSpec().with_settings({"recipe.epochs": 0})
recipe.epochs   | no whole number         | RunSpec().with_settings({"recipe.epochs": "x"})
recipe.optimizer| unknown                 | RunSpec().with_settings({"recipe.optimizer": "lion"})
recipe.learning_rate| not finite              | RunSpec().with_settings({"recipe.learning_rate": float("inf")})
seed            | too large               | RunSpec(seed=10**30)
setting         | unknown                 | RunSpec().with_settings({"recipe.epoch": 3})
recipe          | unknown field           | Recipe(foo=1)
spec            | no RunSpec              | run_spec(None, store)
store           | no RunStore             | run_spec(TINY, "runs")
protocol        | another                 | run_spec(other(protocol=99), store)
specs           | no list                 | run_many(None, store)
workers         | no whole number         | run_many([TINY], store, workers=1.5)
gpus            | not above 0             | run_many([TINY], store, gpus=-1.0)
out             | no store                | RunStore("nowhere").finished()
out             | a file                  | RunStore("afile").prepare()
out             | no name                 | RunStore("").prepare()
run             | unknown                 | RunStore("runs").load("nothing")
runs            | no store and no table   | load_runs("nowhere")
runs            | no finished run         | load_runs("empty")
runs            | a table of other things | load_runs("parquet/train-00000-of-00001.parquet")
runs            | no name                 | load_runs(None)
recipe_options  | no dictionary           | LayerLocalClassifier(recipe_options=3).fit(X, y)

command         | unknown                 | layerlocal adit
--rules         | empty name              | layerlocal audit --rules ,
--seeds         | out of range            | layerlocal audit --seeds 0
--seeds         | fewer than claims need  | layerlocal study composition --seeds 1
--seeds         | no number               | layerlocal audit --seeds two
--data          | vectors                 | layerlocal audit --data teacher_student
--set           | no value                | layerlocal train --set rule.grid
--set           | given twice             | layerlocal train --set rule.grid=1 --set rule.grid=2
--epochs        | given twice             | layerlocal train --epochs 1 --set recipe.epochs=2
--parallel      | unknown                 | layerlocal train --parallel rows
--config        | no file                 | layerlocal train --config nowhere.yaml
--config        | no fields               | layerlocal train --config list.yaml
--config        | no JSON                 | layerlocal train --config broken.json
--config        | unknown field           | layerlocal train --config study.yaml
--config        | another protocol        | layerlocal train --config later.yaml
--config        | a later version         | layerlocal train --config names.yaml
--config        | unnamed code            | layerlocal train --config code.yaml
--config        | no field of a plan      | layerlocal study --config later.yaml
--logger        | unknown                 | layerlocal train --data teacher_student --network mlp --logger cvs
judged_on       | no validation split     | layerlocal train --set judged_on=validation --set data.validation=0
list            | unknown                 | layerlocal list everything
--ray           | a forecast              | layerlocal study accuracy --ray nowhere:1 --dry-run
study           | unknown                 | layerlocal study clases
--size          | unknown                 | layerlocal study classes --size huge
--rules         | a baseline              | layerlocal study accuracy --rules bp
--file          | no file                 | layerlocal claims --file nowhere.yaml
--file          | no list                 | layerlocal claims --file list.yaml
--file          | no YAML                 | layerlocal claims --file deep.yaml
--file          | no text                 | layerlocal claims --file latin.yaml
--file          | a key twice             | layerlocal claims --file twice.yaml
--file          | unknown key             | layerlocal claims --file other.yaml
--file          | no claim                | layerlocal claims --file none.yaml
--file          | a family twice          | layerlocal claims --file own.yaml --file own.yaml
--file          | no family               | layerlocal claims --file family.yaml
--file          | no rules                | layerlocal claims --file rules.yaml
--file          | no id                   | layerlocal claims --file noid.yaml
--claim         | unknown                 | layerlocal claims --claim P99
--alpha         | out of range            | layerlocal claims --alpha 1
--accuracies    | beside others           | layerlocal claims --accuracies --alpha 0.1
--format        | unknown                 | layerlocal claims --format pdf
--format        | of figures              | layerlocal report --format pdf
report          | nothing finished        | layerlocal report --out empty
cite            | no store                | layerlocal cite --out nowhere
cite            | two things              | layerlocal cite --all --rule ff
--modes         | unknown                 | layerlocal cost --modes fast
--memory        | nothing                 | layerlocal cost --memory 0MB
--memory        | of another part         | layerlocal cost --memory 1MB --part methods
--repeats       | of another part         | layerlocal cost --repeats 4 --part scaling
--space         | one choice              | layerlocal tune --space rule.grid=1
--space         | LOW above HIGH          | layerlocal tune --space recipe.learning_rate=2:1
--space         | a log of 0              | layerlocal tune --space recipe.learning_rate=log:0:0.1
--space         | another rule            | layerlocal tune --space ff/rule.grid=1,2
--space         | seed                    | layerlocal tune --space seed=1,2
--space         | set too                 | layerlocal tune --space rule.grid=1,2 --set rule.grid=4
data.validation | none to search          | layerlocal tune --set data.validation=0
export          | no file                 | layerlocal export nothing
export          | a folder                | layerlocal export RUN --torch empty
export          | a file that exists      | layerlocal export RUN --torch afile
export          | one file                | layerlocal export RUN --torch m.x --onnx m.x
spec.json       | cut                     | run cut spec.json
spec.json       | gone                    | run gone spec.json
result.json     | cut                     | run cut result.json
answers.bin     | longer                  | answers longer

compose         | too few images          | load_data("images", compose="side")
held_out        | too many                | load_data("images", compose="side", held_out=0.95)
teacher         | an option below 1       | load_data("teacher_student", teacher={"groups": 0})
teacher         | no number               | load_data("teacher_student", teacher={"noise": "much"})
draw            | no superclasses         | load_data("images", draw="across", classes=2)
validation      | a class of one image    | data_from_arrays(X[:4], [0, 0, 0, 1])
data.classes    | what the study varies   | study("classes", settings={"data.classes": 3})
settings        | no setting of a study   | study("classes", settings={"seed": 3})
settings        | no dictionary           | study("classes", settings=3)
width           | given twice             | study("classes", width=1, settings={"network.width": 2})
rules           | no names                | study("classes", rules=3)
rules           | none                    | study("classes", rules=[])
seeds           | none                    | study("classes", seeds=[])
reread          | no bool                 | study("classes", reread="no")
out             | None                    | study("classes", out=None)
size            | no name                 | cost(3)
memory          | no size                 | cost(memory="much")
precision       | unknown                 | cost(precision="float8")
space           | no choices              | tune(space="rule.grid")
alpha           | no number               | judge(alpha="x")
split           | no test split           | evaluate(rule(), data, split="test")
model           | other scores            | evaluate(nn.Linear(5, 2), data)
rule            | made already            | LayerLocalClassifier(rule=rule()).fit(X, y)
rule_options    | no dictionary           | LayerLocalClassifier(rule_options=3).fit(X, y)
start           | a classifier            | LayerLocalClassifier(start=LayerLocalClassifier()).fit(X, y)
steps           | none                    | measure_speed({}, batch_size=4)
threads         | too many                | run_many([TINY], store, threads=10**6)
blocks          | shared weights          | Network([m := nn.Linear(5, 5), m], sample_shape=(5,))
blocks          | another input           | Network([nn.Linear(3, 4), nn.Linear(5, 4)], sample_shape=(3,))
blocks          | a tuple                 | Network([nn.LSTM(3, 4)], sample_shape=(3,))
norm            | no bool                 | create_network("mlp", in_channels=3, image_size=1, norm="odd")
hidden          | too much memory         | create_network("mlp", in_channels=3, image_size=1, hidden=10**6, depth=1000)
segment_size    | below 1                 | create_rule("segmented", network(), num_classes=3, segment_size=0)
readout         | unknown                 | SpatialReadout((4, 8, 8), 3, statistic="odd")
readout         | another shape           | SpatialReadout((4, 8), 3)
options         | nested                  | RuleSpec(options={"a": {}})
epochs          | true                    | Recipe(epochs=True)

network file    | no file                 | create_network("away.py:net", in_channels=3, image_size=8)
network file    | no function             | create_network("net.py", in_channels=3, image_size=8)
network file    | no such function        | create_network("net.py:other", in_channels=3, image_size=8)
network file    | raises                  | create_network("net.py:raises", in_channels=3, image_size=8)
network file    | a bare module           | create_network("net.py:module", in_channels=3, image_size=8)
network file    | other samples           | create_network("net.py:other_shape", in_channels=3, image_size=8)
network file    | takes nothing           | create_network("net.py:takes_nothing", in_channels=3, image_size=8)
network file    | an option without default| create_network("net.py:without_default", in_channels=3, image_size=8)
network file    | no width                | create_network("net.py:other_shape", in_channels=3, image_size=8, width=0.5)

claim           | no id                   | claim {"id": 2}
claim           | a comma in its id       | claim {"id": "P2,P3"}
claim           | a missing field         | claim {"reported": {"value": 1.0, "unit": "pp"}}
claim           | an unknown field        | claim {"smallest_efect": 1}
claim           | a number as text        | claim {"smallest_effect": "0.5"}
claim           | below 0                 | claim {"smallest_effect": -0.5}
claim           | unknown direction       | claim {"direction": "more"}
claim           | unknown test            | claim {"test": "wilcoxon"}
claim           | unknown study           | claim {"study": "clases"}
claim           | a family of its own     | claim {"family": "x"}
claim           | texts of other rules    | claim {"protocol_differences": {"ff": "a"}}
claim           | unknown quantity        | claim {"quantity": "slope_diference"}
claim           | no sentence             | claim {"sentence": ""}

head_width      | beside head='linear'    | create_rule("local-heads", network(), num_classes=3, head_width=4)
head            | unknown                 | create_rule("local-heads", network(), num_classes=3, head="tree")
beta            | out of range            | create_rule("predsim", network(), num_classes=3, beta=1.0)
theta           | not positive            | create_rule("scff", network(), num_classes=3, theta=0.0)
goodness        | unknown                 | create_rule("ff", network(), num_classes=3, goodness="max")
peer_normalization | below 0             | create_rule("ff", network(), num_classes=3, peer_normalization=-0.1)
peer_momentum   | 1                       | create_rule("ff", network(), num_classes=3, peer_momentum=1.0)
average         | unknown                 | create_rule("scff", network(), num_classes=3, average="sum")
over_class      | unknown                 | create_rule("sigprop", network(), num_classes=3, over_class="max")
normalization   | unknown                 | create_rule("deeperforward", network(), num_classes=3, normalization="batch")
hierarchy       | no tree of the classes  | create_rule("hcl-ff", network(), num_classes=2, hierarchy="(0,2)")
contrast        | below 0                 | create_rule("hcl-ff", network(), num_classes=3, contrast=-1.0)
contrast_temperature | not positive       | create_rule("hcl-ff", network(), num_classes=3, contrast_temperature=0.0)
levels          | unknown                 | create_rule("hcl-ff", network(), num_classes=3, levels="falling")
levels          | without a hierarchy     | create_rule("hcl-ff", network(), num_classes=3, levels="increasing")
rule            | tried on no name        | RuleInfo(name="mine", locality="block", tried_on=3)
heads           | no divisor              | create_rule("blockwise-decoder", tokens(), num_classes=3, heads=5)
network         | no tokens               | create_rule("blockwise-decoder", network(), num_classes=3)
network         | no class token          | create_rule("diffusion-blocks", network(), num_classes=3)
network         | no grid of tokens       | create_rule("reconstruct", tokens_of_no_grid(), num_classes=3)
embeddings      | unknown                 | create_rule("diffusion-blocks", tokens(), num_classes=3, embeddings="own")
overlap         | below 0                 | create_rule("diffusion-blocks", tokens(), num_classes=3, overlap=-1.0)
boundary        | no block above it       | create_rule("reconstruct", network(), num_classes=3, boundary=2)
nets            | no reader               | create_rule("committee", network(), num_classes=3, nets=0, linear=False)
alpha           | below 0                 | create_rule("asge", network(), num_classes=3, alpha=-0.5)
dynamic_temperature| no bool                 | create_rule("class-goodness", network(), num_classes=3, dynamic_temperature=1)
blocks          | no list                 | Network("mlp", sample_shape=(6,))
blocks          | a class                 | Network([nn.ReLU], sample_shape=(6,))
blocks          | no list of names        | Network.from_module(nn.ReLU(), "0", sample_shape=(6,))

groups          | fewer than two          | certify(step, [nn.Linear(2, 2)])
groups          | one module              | certify(step, nn.Linear(2, 2))
groups          | no list                 | certify(step, 3)
groups          | too many                | certify(step, [nn.Parameter(torch.zeros(1)) for _ in range(257)])
groups          | no module               | certify(step, [nn.Linear(2, 2), 3])
groups          | no parameter in a list  | certify(step, [nn.Linear(2, 2), [3]])
groups          | one without parameters  | certify(step, [nn.Linear(2, 2), nn.ReLU()])
groups          | twice the same          | certify(step, [m := nn.Linear(2, 2), m])
groups          | without a shape yet     | certify(step, [nn.Linear(2, 2), nn.LazyLinear(2)])
groups          | without numbers         | certify(step, [nn.Linear(2, 2), nn.Linear(2, 2, device="meta")])
step            | no function             | certify(3, [nn.Linear(2, 2), nn.Linear(2, 2)])
step            | trains nothing          | certify(step, [nn.Linear(2, 2), nn.Linear(2, 2)])
step            | raises                  | certify(lambda: 1 / 0, [nn.Linear(2, 2), nn.Linear(2, 2)])
step            | does not repeat itself  | layerlocal certify steps.py:counts
step            | takes the next batch    | layerlocal certify steps.py:loads
step            | not finite              | layerlocal certify steps.py:not_finite
step            | leaves a parameter out  | layerlocal certify steps.py:left_out
step            | trains another parameter| layerlocal certify steps.py:outside
state           | no state_dict           | certify(step, [nn.Linear(2, 2), nn.Linear(2, 2)], [3])
step file       | no file                 | layerlocal certify away.py:step
step file       | no function named       | layerlocal certify steps.py
step file       | no such function        | layerlocal certify steps.py:count
step file       | returns a step alone    | layerlocal certify steps.py:one
step file       | raises                  | layerlocal certify steps.py:raises
--picture       | another format          | layerlocal certify steps.py:trained --picture who.gif
context         | of images               | load_data("images", context=8)
context         | of a network for images | layerlocal cost --set context=8
context         | longer than the text    | load_data("python_library", context=900000)
image_size      | of a network for text   | layerlocal cost --network gpt --image-size 32
classes         | of text                 | load_data("python_library", classes=3)
network         | text for images         | layerlocal tune --data python_library --network vgg8
network         | images for text         | layerlocal train --network gpt
text            | a rule that makes inputs| layerlocal check ff --network gpt
text            | in the audit            | layerlocal audit --data python_library
text            | in a study of classes   | layerlocal study classes --data python_library
"""
"""Field, kind, and what is refused: a call in Python, a command, or a case of another file (claim, folder, table, rule, run)."""

CALLS = {
    (field.strip(), kind.strip()): call.strip()
    for field, kind, call in (line.split("|", 2) for line in TABLE.strip().splitlines() if line)
}
