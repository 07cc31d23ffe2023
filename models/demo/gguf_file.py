"""Writes and reads back GGUF version 3, with the ternary type I2_S that the `gguf` package does not know.

Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; I2_S as in microsoft/BitNet.
"""
import struct
from pathlib import Path

import numpy as np

F32, F16, BF16, I2_S = 0, 1, 30, 36
SCALARS = {"u32": (4, "<I"), "i32": (5, "<i"), "f32": (6, "<f"), "bool": (7, "<?")}
ARRAYS = {"[f32]": (6, "<f4"), "[i32]": (5, "<i4")}
ALIGN = 32


def pack_i2_s(codes, scale):
    """128 weights in 32 bytes, the first of four groups in the high bits; then one f32 scale and 28 zero bytes."""
    q = (codes + 1).reshape(-1, 4, 32).astype(np.uint8)
    return (q[:, 0] << 6 | q[:, 1] << 4 | q[:, 2] << 2 | q[:, 3]).tobytes() + struct.pack("<f", scale) + bytes(28)


def unpack_i2_s(data, count):
    """Codes in {-1, 0, 1} and the scale."""
    q = np.frombuffer(data[:count // 4], np.uint8).reshape(-1, 32)
    codes = np.stack([q >> 6, q >> 4 & 3, q >> 2 & 3, q & 3], 1).reshape(-1).astype(np.int8) - 1
    return codes, struct.unpack("<f", data[count // 4:count // 4 + 4])[0]


def text(s):
    return struct.pack("<Q", len(s.encode())) + s.encode()


def value(kind, v):
    if kind == "str":
        return struct.pack("<I", 8) + text(v)
    if kind == "[str]":
        return struct.pack("<IIQ", 9, 8, len(v)) + b"".join(map(text, v))
    if kind in ARRAYS:
        code, dtype = ARRAYS[kind]
        return struct.pack("<IIQ", 9, code, len(v)) + np.array(v, dtype).tobytes()
    code, form = SCALARS[kind]
    return struct.pack("<I", code) + struct.pack(form, v)


def write(path, keys, tensors):
    """keys: (name, kind, value); tensors: (name, shape with rows first, type, bytes)."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    head += b"".join(text(k) + value(t, v) for k, t, v in keys)
    offset = 0
    for name, shape, kind, data in tensors:
        head += text(name) + struct.pack("<I", len(shape))
        head += b"".join(struct.pack("<Q", d) for d in reversed(shape)) + struct.pack("<IQ", kind, offset)
        offset += -(-len(data) // ALIGN) * ALIGN
    with open(path, "wb") as f:
        f.write(head + bytes(-len(head) % ALIGN))
        for *_, data in tensors:
            f.write(data + bytes(-len(data) % ALIGN))


class Reader:
    """`keys` and `tensors` (name to (shape, type, bytes)) of a file that `write` made."""

    def __init__(self, path):
        self.data, self.at = Path(path).read_bytes(), 4
        if self.data[:4] != b"GGUF":
            raise ValueError(f"{path}: no GGUF file")
        _, tensors, keys = self.take("<IQQ")
        self.keys = {}
        for _ in range(keys):
            name = self.text()
            self.keys[name] = self.value(self.take("<I")[0])
        found = []
        for _ in range(tensors):
            name, dims = self.text(), self.take("<I")[0]
            shape = tuple(reversed(self.take(f"<{dims}Q")))
            found.append((name, shape, *self.take("<IQ")))
        base = -(-self.at // ALIGN) * ALIGN
        ends = [o for *_, o in found][1:] + [len(self.data) - base]
        self.tensors = {n: (s, k, self.data[base + o:base + e]) for (n, s, k, o), e in zip(found, ends)}

    def take(self, form):
        size = struct.calcsize(form)
        self.at += size
        return struct.unpack(form, self.data[self.at - size:self.at])

    def text(self):
        n = self.take("<Q")[0]
        self.at += n
        return self.data[self.at - n:self.at].decode()

    def value(self, code):
        if code == 8:
            return self.text()
        if code == 9:
            inner, n = self.take("<IQ")
            return [self.value(inner) for _ in range(n)]
        return self.take({c: f for c, f in SCALARS.values()}[code])[0]
