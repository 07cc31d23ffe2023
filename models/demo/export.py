"""Latent weights and GGUF files of a trained model, and the proof that they read back the same."""
import os
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import data
import gguf_file as gg
from network import Linear, Model, ternary

ARCH = "bitnet-b1.58"
NAMES = {"ternary": "loco-demo-1.58.gguf", "full": "loco-demo-q4.gguf", "bytes": "loco-demo-q4-bytes.gguf"}


def save_latent(model, path):
    """The bf16 latent weights: codes follow from them exactly, and training can go on."""
    state = {k: v.detach().bfloat16().cpu().contiguous() for k, v in model.state_dict().items()}
    save_file(state, str(path))


def load_latent(path, shape, precision="ternary"):
    """The model as the files hold it: codes with f16 scales, f16 embedding, exact integer products."""
    model = Model(shape, precision)
    model.load_state_dict({k: v.float() for k, v in load_file(str(path)).items()})
    model.exact = True
    model.token_embd.weight.data = model.token_embd.weight.data.half().float()
    for m in model.modules():
        if isinstance(m, Linear):
            m.exact = True
    return model.eval()


def keys(model, kind):
    s, a = model.shape, ARCH
    tokens, merges = data.vocabulary()
    total = sum(p.numel() for p in model.parameters())
    return [
        ("general.architecture", "str", a),
        ("general.name", "str", f"LocoLLM demo base, {total / 1e6:.1f} million parameters, trained on generated exercises"),
        ("general.size_label", "str", f"{total / 1e6:.1f}M"),
        ("general.license", "str", "Apache-2.0 OR MIT"),
        ("general.file_type", "u32", {gg.I2_S: 40, gg.F16: 1, gg.Q4_0: 2}[kind]),
        ("general.quantization_version", "u32", 2),
        (a + ".vocab_size", "u32", s.vocab), (a + ".context_length", "u32", s.context),
        (a + ".embedding_length", "u32", s.dim), (a + ".block_count", "u32", s.layers),
        (a + ".feed_forward_length", "u32", s.ffn), (a + ".rope.dimension_count", "u32", s.head_dim),
        (a + ".attention.head_count", "u32", s.heads), (a + ".attention.head_count_kv", "u32", s.kv_heads),
        (a + ".attention.layer_norm_rms_epsilon", "f32", s.eps), (a + ".rope.freq_base", "f32", s.theta),
        ("tokenizer.ggml.model", "str", "gpt2"), ("tokenizer.ggml.pre", "str", "smollm"),
        ("tokenizer.ggml.tokens", "[str]", tokens), ("tokenizer.ggml.scores", "[f32]", [0.0] * len(tokens)),
        ("tokenizer.ggml.token_type", "[i32]", [3 if i < len(data.SPECIAL) else 1 for i in range(len(tokens))]),
        ("tokenizer.ggml.merges", "[str]", merges), ("tokenizer.ggml.add_bos_token", "bool", True),
        ("tokenizer.ggml.bos_token_id", "u32", data.BOS), ("tokenizer.ggml.eos_token_id", "u32", data.EOT),
        ("tokenizer.ggml.eot_token_id", "u32", data.EOT), ("tokenizer.ggml.padding_token_id", "u32", data.PAD),
        ("tokenizer.chat_template", "str", data.TEMPLATE),
    ]


def matrix(weight, kind):
    """Bytes of a linear layer's weight in a GGUF type."""
    if kind == gg.I2_S:
        codes, scale = ternary(weight)
        return gg.pack_i2_s(codes.numpy().astype(np.int8), float(scale.half()))
    if kind == gg.Q4_0:
        from gguf import GGMLQuantizationType, quants
        return quants.quantize(weight.numpy(), GGMLQuantizationType.Q4_0).tobytes()
    return weight.numpy().astype(np.float16).tobytes()


def write(model, path, kind):
    """A GGUF file: linear layers in `kind`, the embedding in F16, gains in F32. Replaces `path` whole."""
    linears, tensors = dict(model.linears()), []
    for name, p in model.state_dict().items():
        p = p.detach().float().cpu()
        if name in linears:
            if kind == gg.F16 and linears[name].precision == "ternary":
                codes, scale = ternary(p)
                p = codes * scale.half().float()
            tensors.append((name, p.shape, kind, matrix(p, kind)))
        elif p.ndim == 2:
            tensors.append((name, p.shape, gg.F16, p.numpy().astype(np.float16).tobytes()))
        else:
            tensors.append((name + ".weight", p.shape, gg.F32, p.numpy().tobytes()))
    part = Path(str(path) + ".part")
    gg.write(part, keys(model, kind), tensors)
    os.replace(part, path)


def check(path, model):
    """Reads an I2_S file back and compares every code, scale, gain and embedding. Returns the number of tensors."""
    state, linears = model.state_dict(), dict(model.linears())
    tensors = gg.Reader(path).tensors
    for name, (shape, kind, raw) in tensors.items():
        count = int(np.prod(shape))
        want = state[name] if name in state else state[name[:-len(".weight")]]
        want = want.detach().float().cpu()
        if name in linears:
            codes, scale = ternary(want)
            got, s = gg.unpack_i2_s(raw, count)
            same = np.array_equal(got, codes.numpy().reshape(-1).astype(np.int8)) and s == float(scale.half())
        else:
            dtype = np.float16 if kind == gg.F16 else np.float32
            same = np.array_equal(np.frombuffer(raw, dtype, count), want.numpy().reshape(-1).astype(dtype))
        if not same or tuple(shape) != tuple(want.shape):
            raise ValueError(f"{path}: {name} reads back different")
    if len(tensors) != len(state):
        raise ValueError(f"{path}: {len(tensors)} tensors, the model has {len(state)}")
    return len(tensors)


def files(model, folder, twin):
    """Writes the files of a run; the ternary one is read back and compared."""
    folder = Path(folder)
    path = folder / NAMES[twin]
    write(model, path, gg.I2_S if twin == "ternary" else gg.Q4_0)
    tensors = check(path, model) if twin == "ternary" else len(gg.Reader(path).tensors)
    print(f"{path.name}: {path.stat().st_size} bytes, {tensors} tensors")
    return path
