"""Makes tests/golden/quant/blocks.safetensors: packed blocks and their values, by ggml itself.

    pip install gguf llama-cpp-python safetensors numpy
    python tests/reference/quant_golden.py

Per format F: `F.bytes` are blocks of random bytes (finite scales) and `F.values` what they mean, by the
gguf package and by ggml's C code, which must agree; `F.packed` is `x` packed by ggml's reference code. I2_S is unknown
to both: its layout is written down here a second time.
"""

import ctypes
import pathlib

import gguf
import llama_cpp
import numpy as np
from gguf import GGMLQuantizationType as T
from safetensors.numpy import save_file

ggml = ctypes.CDLL(str(next((pathlib.Path(llama_cpp.__file__).parent / "lib").glob("libggml-base.so"))))
OUT = pathlib.Path(__file__).parent.parent / "golden/quant/blocks.safetensors"
FLOATS = ctypes.POINTER(ctypes.c_float)
# Name: (block length, block bytes, where f16 scales are, type id, suffix of ggml's functions).
FORMATS = {
    "Q4_0": (32, 18, [0], 2, "q4_0"),
    "Q8_0": (32, 34, [0], 8, "q8_0"),
    "Q4_K": (256, 144, [0, 2], 12, "q4_K"),
    "Q5_K": (256, 176, [0, 2], 13, "q5_K"),
    "Q6_K": (256, 210, [208], 14, "q6_K"),
    "TQ1_0": (256, 54, [52], 34, "tq1_0"),
    "TQ2_0": (256, 66, [64], 35, "tq2_0"),
    "Q2_0": (64, 18, [0], 42, "q2_0"),
}


def inputs(rng):
    """256-value stretches that take different branches of the packers."""
    normal = rng.normal(0, 0.02, 256)
    outlier = normal.copy()
    outlier[17] = -0.7
    ternary = rng.integers(-1, 2, 256) * float(np.float16(0.0371))
    halves = np.concatenate([np.zeros(128), rng.normal(0, 1, 128)])
    positive = np.abs(rng.normal(0, 1, 256)) + 0.5
    small = rng.normal(0, 1e-4, 256)
    return np.concatenate([normal, outlier, ternary, halves, positive, small]).astype(np.float32)


def c_pack(x, name):
    length, size, _, _, suffix = FORMATS[name]
    out = np.zeros(len(x) // length * size, np.uint8)
    pack = getattr(ggml, f"quantize_row_{suffix}_ref")
    pack(x.ctypes.data_as(FLOATS), ctypes.c_void_p(out.ctypes.data), ctypes.c_int64(len(x)))
    return out


def c_unpack(data, name):
    length, size, _, _, suffix = FORMATS[name]
    out = np.zeros(len(data) // size * length, np.float32)
    unpack = getattr(ggml, f"dequantize_row_{suffix}")
    unpack(ctypes.c_void_p(data.ctypes.data), out.ctypes.data_as(FLOATS), ctypes.c_int64(len(out)))
    return out


def i2_s(x):
    scale = np.abs(x).max()
    q = (np.sign(np.round(x / scale)) + 1).astype(np.uint8).reshape(-1, 4, 32)
    codes = q[:, 0] << 6 | q[:, 1] << 4 | q[:, 2] << 2 | q[:, 3]
    return np.concatenate([codes.ravel(), np.float32([scale]).view(np.uint8), np.zeros(28, np.uint8)])


def q2_0_g128(x):
    x = x.reshape(-1, 128)
    d = np.abs(x).max(1, keepdims=True)
    q = (np.sign(np.round(x / np.where(d == 0, 1, d))) + 1).astype(np.uint8).reshape(len(x), -1, 4)
    qs = q[..., 0] | q[..., 1] << 2 | q[..., 2] << 4 | q[..., 3] << 6
    return np.concatenate([d.astype(np.float16).view(np.uint8), qs], 1).ravel()


def main():
    rng = np.random.default_rng(1)
    x = inputs(rng)
    tensors = {"x": x}
    for name, (length, size, scales, number, _) in FORMATS.items():
        blocks = rng.integers(0, 256, (512 // length, size), dtype=np.uint8)
        for at in scales:
            d = rng.normal(0, 0.01, len(blocks)).astype(np.float16)
            blocks[:, at : at + 2] = d.view(np.uint8).reshape(-1, 2)
        values = c_unpack(np.ascontiguousarray(blocks.ravel()), name)
        if number in {t.value for t in T}:
            theirs = gguf.quants.dequantize(blocks, T(number)).ravel()
            assert np.array_equal(values, theirs), name
        tensors |= {f"{name}.bytes": blocks.ravel(), f"{name}.values": values, f"{name}.packed": c_pack(x, name)}
    for name in ["F16", "BF16"]:
        tensors[f"{name}.packed"] = gguf.quants.quantize(x.reshape(1, -1), T[name]).view(np.uint8).ravel()
    tensors |= {"I2_S.packed": i2_s(x), "Q2_0_G128.packed": q2_0_g128(x)}
    OUT.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, OUT)
    print(OUT, OUT.stat().st_size, "bytes")


main()
