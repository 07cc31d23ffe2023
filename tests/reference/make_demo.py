"""Makes the reference values of the demo base for the tests, from the run that trained it.

    pip install -r requirements.txt
    python ../../models/demo/train.py reference --run RUN
    python make_demo.py RUN     # the run's folder, with loco-demo-1.58.gguf, latent.safetensors and reference.jsonl

reference.jsonl is copied to tests/golden/demo; expected.safetensors there gets

    logits.P   f32 [vocab]                   after the last token of prompt P, from the training program
    hidden.0   f32 [layers + 1, tokens, dim] its residual stream for prompt 0
    exact.P    f32 [variants, vocab / 32]    every 32nd logit in float64 with integer products (Exact in make_golden.py)

Where an activation lies within 2.5e-5 of the middle between two int8 values, f32 may round it either way: `exact.P` then has
a variant for either. A correct engine gives one of the variants.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from make_golden import Exact

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "models" / "demo"))
import export
import gguf_file as gg
from network import Shape

TIE = 2.5e-5
MOST_VARIANTS = 4000
EVERY = 32
WITH_LOGITS = [0, 1, 2, 8, 9]


class Forked(Exact):
    """The demo base in float64. At near ties it rounds as `choices` says, and stops where no choice is made yet."""

    def __init__(self, path):
        reader = gg.Reader(path)
        key = lambda name: reader.keys[f"bitnet-b1.58.{name}"]
        self.bitnet, self.margin = True, np.inf
        self.c = dict(hidden_size=key("embedding_length"), num_attention_heads=key("attention.head_count"), num_key_value_heads=key("attention.head_count_kv"),
                      num_hidden_layers=key("block_count"), rms_norm_eps=key("attention.layer_norm_rms_epsilon"), rope_parameters=dict(rope_theta=key("rope.freq_base")))
        names = dict(attn_q="self_attn.q_proj", attn_k="self_attn.k_proj", attn_v="self_attn.v_proj", attn_output="self_attn.o_proj", ffn_gate="mlp.gate_proj",
                     ffn_up="mlp.up_proj", ffn_down="mlp.down_proj", attn_norm="input_layernorm", ffn_norm="post_attention_layernorm",
                     attn_sub_norm="self_attn.attn_sub_norm", ffn_sub_norm="mlp.ffn_sub_norm", token_embd="embed_tokens", output_norm="norm")
        self.w, self.codes = {}, {}
        for tensor, (shape, kind, raw) in reader.tensors.items():
            parts = tensor.removesuffix(".weight").split(".")
            name = (f"layers.{parts[1]}." if len(parts) > 1 else "") + names[parts[-1]]
            if kind == gg.I2_S:
                codes, scale = gg.unpack_i2_s(raw, int(np.prod(shape)))
                self.codes[name] = (codes.reshape(shape).astype(np.int64), np.float64(scale))
            else:
                dtype = np.float16 if kind == gg.F16 else np.float32
                self.w[name] = np.frombuffer(raw, dtype, int(np.prod(shape))).reshape(shape).astype(np.float64)
        self.choices, self.ties = {}, []

    def linear(self, name, x):
        codes, scale = self.codes[name]
        largest = np.maximum(np.abs(x).max(-1, keepdims=True), 1e-5)
        y = x * 127.0 / largest
        q = np.clip(np.rint(y), -128, 127).astype(np.int64)
        for token, column in np.argwhere(np.abs(np.abs(y - np.floor(y)) - 0.5) < TIE):
            place = (name.replace("k_proj", "q_proj").replace("v_proj", "q_proj").replace("up_proj", "gate_proj"), int(token), int(column))
            if place not in self.ties:
                self.ties.append(place)
            q[token, column] = np.floor(y[token, column]) + self.choices.get(place, 0)
        return (q @ codes.T) * (largest / 127.0 * scale)

    def variants(self, ids):
        """Last logits for all ways of rounding the near ties. Ties may appear or vanish on the way."""
        found, queue = [], [{}]
        while queue:
            self.choices, self.ties = queue.pop(), []
            logits, _ = self.run(ids)
            undecided = [place for place in self.ties if place not in self.choices]
            if undecided:
                queue += [{**self.choices, undecided[0]: 0}, {**self.choices, undecided[0]: 1}]
            else:
                found.append(logits[-1])
            assert len(found) + len(queue) <= MOST_VARIANTS
        # Most ties change nothing that can be seen.
        distinct = []
        for logits in found:
            if all(np.abs(logits - other).max() > 1e-6 * np.abs(logits).max() for other in distinct):
                distinct.append(logits)
        return np.array(distinct)


@torch.no_grad()
def streams(model, ids):
    """The residual stream after the embedding and after each layer, [layers + 1, tokens, dim]."""
    h = model.token_embd(torch.tensor([ids]))
    out = [h[0]]
    for block in model.blk:
        h = block(h, model.cos[:len(ids)], model.sin[:len(ids)])
        out.append(h[0])
    return torch.stack(out).numpy()


def main(run):
    target = HERE.parent / "golden" / "demo"
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(run / "reference.jsonl", target / "reference.jsonl")
    prompts = [json.loads(line)["prompt_ids"] for line in open(run / "reference.jsonl", encoding="utf-8")]
    trainer = export.load_latent(run / "latent.safetensors", Shape())
    exact = Forked(run / export.NAMES["ternary"])
    expected = {"hidden.0": streams(trainer, prompts[0])}
    for number in WITH_LOGITS:
        with torch.no_grad():
            logits = trainer(torch.tensor([prompts[number]]))[0, -1].numpy()
        variants = exact.variants(prompts[number])
        expected[f"logits.{number}"] = logits
        expected[f"exact.{number}"] = variants[:, ::EVERY]
        off = np.abs(variants - logits).max(1) / np.abs(logits).max()
        print(f"prompt {number}: {len(variants)} variants, the training program's logits are off by", " ".join(f"{o:.1e}" for o in off))
    save_file({name: np.ascontiguousarray(array, dtype=np.float32) for name, array in expected.items()}, target / "expected.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
