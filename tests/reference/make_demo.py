"""Repacks the reference values of the demo base (what its training program wrote) for the tests, and adds exact ones.

    pip install gguf==0.19.0
    python make_demo.py FOLDER     # the folder with demo-early-F16.gguf, reference.npz and reference.jsonl

reference.jsonl is copied to tests/golden/demo-early; expected.safetensors there gets

    logits.P   f32 [vocab]                   after the last token of prompt P, from the training program
    hidden.P   f32 [layers + 1, tokens, dim] its residual stream
    exact.P    f32 [variants, vocab / 32]    every 32nd logit in float64 with integer products (Exact in make_golden.py)

Where an activation lies within 2.5e-5 of the middle between two int8 values, f32 may round it either way: `exact.P` then has
a variant for either. A correct engine gives one of the variants.
"""

import shutil
import sys
from pathlib import Path

import json
import numpy as np
from gguf import GGUFReader
from safetensors.numpy import save_file

from make_golden import Exact

TIE = 2.5e-5
MOST_VARIANTS = 4000
EVERY = 32


class Forked(Exact):
    """The demo base in float64. At near ties it rounds as `choices` says, and stops where no choice is made yet."""

    def __init__(self, path):
        reader = GGUFReader(path)
        key = lambda name: reader.fields[f"bitnet-b1.58.{name}"].contents()
        self.bitnet, self.margin = True, np.inf
        self.c = dict(hidden_size=key("embedding_length"), num_attention_heads=key("attention.head_count"), num_key_value_heads=key("attention.head_count_kv"),
                      num_hidden_layers=key("block_count"), rms_norm_eps=key("attention.layer_norm_rms_epsilon"), rope_parameters=dict(rope_theta=key("rope.freq_base")))
        names = dict(attn_q="self_attn.q_proj", attn_k="self_attn.k_proj", attn_v="self_attn.v_proj", attn_output="self_attn.o_proj", ffn_gate="mlp.gate_proj",
                     ffn_up="mlp.up_proj", ffn_down="mlp.down_proj", attn_norm="input_layernorm", ffn_norm="post_attention_layernorm",
                     attn_sub_norm="self_attn.attn_sub_norm", ffn_sub_norm="mlp.ffn_sub_norm", token_embd="embed_tokens", output_norm="norm")
        self.w, self.codes = {}, {}
        for tensor in reader.tensors:
            parts = tensor.name.removesuffix(".weight").split(".")
            name = (f"layers.{parts[1]}." if len(parts) > 1 else "") + names[parts[-1]]
            values = tensor.data.astype(np.float64)
            if name.endswith("_proj"):
                scale = np.abs(values).max()
                codes = np.rint(values / scale).astype(np.int64)
                assert np.array_equal(codes * scale, values)
                self.codes[name] = (codes, scale)
            else:
                self.w[name] = values
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


if __name__ == "__main__":
    source, target = Path(sys.argv[1]), Path(__file__).resolve().parent.parent / "golden" / "demo-early"
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / "reference.jsonl", target / "reference.jsonl")
    prompts = [json.loads(line) for line in open(source / "reference.jsonl", encoding="utf-8")]
    expected = {name.replace("_", "."): np.ascontiguousarray(array, dtype=np.float32) for name, array in np.load(source / "reference.npz").items()}
    model = Forked(source / "demo-early-F16.gguf")
    for name in [name for name in expected if name.startswith("logits.")]:
        number = int(name.removeprefix("logits."))
        variants = model.variants(prompts[number]["prompt_ids"])
        expected[f"exact.{number}"] = np.ascontiguousarray(variants[:, ::EVERY], dtype=np.float32)
        off = np.abs(variants - expected[name]).max(1) / np.abs(expected[name]).max()
        print(f"prompt {number}: {len(variants)} variants, the training program's logits are off by", " ".join(f"{o:.1e}" for o in off))
    save_file(expected, target / "expected.safetensors")
