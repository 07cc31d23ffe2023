"""Latent weights and GGUF files of a trained model, and the proof that they read back the same."""
import os
import subprocess
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import data
import gguf_file as gg
from network import Linear, Model, ternary

# The twins' architecture is a name of this project: the same blocks with plain linear layers.
ARCHES = {"ternary": "bitnet-b1.58", "full": "bitnet-fp"}
# Of each run: the file with the weights as trained, and for twins the one at 4 bits.
NAMES = {"ternary": "loco-demo-1.58.gguf", "full": "loco-demo-bf16.gguf", "bytes": "loco-demo-bf16-bytes.gguf"}
NAMES_4BIT = {"full": "loco-demo-q4.gguf", "bytes": "loco-demo-q4-bytes.gguf"}
WHAT = {"ternary": "", "full": ", full-precision twin", "bytes": ", full-precision twin of equal bytes"}


def save_latent(model, path):
    """The bf16 latent weights: codes follow from them exactly, and training can go on."""
    state = {k: v.detach().bfloat16().cpu().contiguous() for k, v in model.state_dict().items()}
    save_file(state, str(path))


def load_latent(path, shape, precision="ternary"):
    """The model as the files hold it: codes with f16 scales, f16 embedding, exact integer products."""
    model = Model(shape, precision)
    model.load_state_dict({k: v.float() for k, v in load_file(str(path)).items()})
    model.token_embd.weight.data = model.token_embd.weight.data.half().float()
    return exact(model)


def exact(model):
    """The model on the path that the files define: f32, and for ternary layers exact integer products."""
    model.exact = True
    for m in model.modules():
        if isinstance(m, Linear):
            m.exact = True
    return model.eval()


def keys(model, twin):
    s, a = model.shape, ARCHES[model.precision]
    tokens, merges = data.vocabulary()
    total = sum(p.numel() for p in model.parameters())
    return [
        ("general.architecture", "str", a),
        ("general.name", "str", f"LocoLLM demo base, {total / 1e6:.1f} million parameters, trained on generated exercises{WHAT[twin]}"),
        ("general.size_label", "str", f"{total / 1e6:.1f}M"),
        ("general.license", "str", "Apache-2.0 OR MIT"),
        ("general.file_type", "u32", 40 if twin == "ternary" else 32),
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


def linear_bytes(weight, twin):
    """GGUF type and bytes of a linear layer's weight."""
    if twin == "ternary":
        codes, scale = ternary(weight)
        return gg.I2_S, gg.pack_i2_s(codes.numpy().astype(np.int8), float(scale.half()))
    return gg.BF16, weight.bfloat16().view(torch.int16).numpy().tobytes()


def write(model, path, twin):
    """A GGUF file: linear layers in I2_S or BF16, the embedding in F16, gains in F32. Replaces `path` whole."""
    linears, tensors = dict(model.linears()), []
    for name, p in model.state_dict().items():
        p = p.detach().float().cpu()
        if name in linears:
            tensors.append((name, p.shape, *linear_bytes(p, twin)))
        elif p.ndim == 2:
            tensors.append((name, p.shape, gg.F16, p.numpy().astype(np.float16).tobytes()))
        else:
            tensors.append((name + ".weight", p.shape, gg.F32, p.numpy().tobytes()))
    part = Path(str(path) + ".part")
    gg.write(part, keys(model, twin), tensors)
    os.replace(part, path)


def check(path, model):
    """Reads a file of `write` back and compares every code, scale, gain and weight. Returns the number of tensors."""
    state, linears = model.state_dict(), dict(model.linears())
    tensors = gg.Reader(path).tensors
    for name, (shape, kind, raw) in tensors.items():
        count = int(np.prod(shape))
        want = state[name] if name in state else state[name[:-len(".weight")]]
        want = want.detach().float().cpu()
        if kind == gg.I2_S:
            codes, scale = ternary(want)
            got, s = gg.unpack_i2_s(raw, count)
            same = np.array_equal(got, codes.numpy().reshape(-1).astype(np.int8)) and s == float(scale.half())
        else:
            want = want.bfloat16().float() if name in linears else want
            got = {gg.F16: lambda: np.frombuffer(raw, np.float16, count), gg.F32: lambda: np.frombuffer(raw, np.float32, count),
                   gg.BF16: lambda: (np.frombuffer(raw, np.uint16, count).astype(np.uint32) << 16).view(np.float32)}[kind]()
            same = np.array_equal(got, want.numpy().reshape(-1).astype(got.dtype))
        if not same or tuple(shape) != tuple(want.shape):
            raise ValueError(f"{path}: {name} reads back different")
    if len(tensors) != len(state):
        raise ValueError(f"{path}: {len(tensors)} tensors, the model has {len(state)}")
    return len(tensors)


def files(model, folder, twin, loco=None):
    """Writes the file of a run and compares it with the model; with the command `loco` also a twin's file at 4 bits."""
    path = Path(folder) / NAMES[twin]
    write(model, path, twin)
    print(f"{path.name}: {path.stat().st_size} bytes, {check(path, model)} tensors")
    if twin != "ternary" and loco:
        small = Path(folder) / NAMES_4BIT[twin]
        # The embedding stays F16 in all files, so that the linear layers alone are compared.
        subprocess.run([loco, "quantize", path, small, "--to", "Q4_K_M", "--embed-format", "F16"], check=True)
        print(f"{small.name}: {small.stat().st_size} bytes")
    return path


def load_4bit(path, shape):
    """A twin with the weights that its 4-bit file stands for."""
    from gguf import GGUFReader, quants
    model = Model(shape, "full")
    state = {}
    for t in GGUFReader(path).tensors:
        name = t.name if t.name in model.state_dict() else t.name[:-len(".weight")]
        state[name] = torch.from_numpy(quants.dequantize(t.data, t.tensor_type).copy()).reshape(model.state_dict()[name].shape)
    model.load_state_dict(state)
    return exact(model)
