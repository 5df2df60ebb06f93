"""LoPT, https://github.com/HumyuShi/LoPT: post-training of language models with a gradient boundary at the middle (arXiv:2605.04913).

    pip install "transformers==4.57.*"
    LAYERLOCAL_FOREIGN=checkouts layerlocal certify examples/foreign/lopt_sft.py:step

Licence: none is named. The step is inline in a script: lines 174 to 184 and 189 to 193 of train_sft.py are run as they stand, with its defaults.
`unclipped` is the same with its option `--max_grad_norm 0`.
Changed: a Qwen2 of four layers and width 64 with random weights, 4 random texts of 64 tokens, float32, no checkpointing.
"""

import importlib
from types import SimpleNamespace as Options

import torch
from checkout import lines, use

COMMIT = "d4cb99e9b3875a180ae5aaf4a6bdd1838627ab21"


def step(max_grad_norm=1.0):
    """Each layer is a group; the head of the first half belongs to its last layer, as the language model's head does to the last."""
    folder = use("LoPT", COMMIT)
    transformers, lopt = importlib.import_module("transformers"), importlib.import_module("lopt.modeling_lopt")
    sizes = dict(
        hidden_size=64, intermediate_size=128, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2
    )
    base = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(vocab_size=256, **sizes))
    model = lopt.LoPTModelForCausalLM(base, num_blocks=2).train()
    optimizer = torch.optim.AdamW(lopt.build_lopt_optimizer_groups(model, learning_rate=2e-5))
    options = Options(
        bf16=False, fp16=False, lambda_aux=10.0, gradient_accumulation_steps=1, max_grad_norm=max_grad_norm
    )
    ids = torch.randint(256, (4, 64))
    names = {"torch": torch, "args": options, "model": model, "optimizer": optimizer, "device": "cpu", "micro_step": 0}
    names |= {"batch": {"input_ids": ids, "labels": ids}, "LoPTModelForCausalLM": lopt.LoPTModelForCausalLM}
    names["scheduler"] = transformers.get_cosine_schedule_with_warmup(optimizer, 0, 100)
    backward, update = (lines(folder / "train_sft.py", first, last, names) for first, last in ((174, 184), (189, 193)))
    first, second, third, last = model.inner.layers
    groups = {"embedding": model.inner.embed_tokens, "layer0": first, "layer1": [second, model.aux_decoders]}
    groups |= {"layer2": third, "layer3": [last, model.inner.norm, base.lm_head]}
    return lambda: [backward(), update()], groups


def unclipped():
    """Without the clipping."""
    return step(0.0)
