"""Compares `loco quantize` with llama.cpp's own quantiser on random llamas, tensor by tensor and byte by byte.

    pip install gguf llama-cpp-python numpy
    python tests/reference/quantize_llama_cpp.py target/release/loco

Then lets llama.cpp load and run the files that loco wrote.
"""

import ctypes
import pathlib
import subprocess
import sys
import tempfile

import gguf
import llama_cpp
import numpy as np

TARGETS = {"Q4_K_M": 15, "Q8_0": 7, "Q6_K": 18}
VOCABULARY = 512


def write_llama(path, layers, tied, rng):
    dim, hidden, kv = 256, 768, 128
    matrix = lambda rows, cols: (rng.standard_t(5, (rows, cols)) * 0.03).astype(np.float16)
    tensors = {"token_embd.weight": matrix(VOCABULARY, dim), "output_norm.weight": np.ones(dim, np.float32)}
    if not tied:
        tensors["output.weight"] = matrix(VOCABULARY, dim)
    for i in range(layers):
        shapes = {"attn_q": (dim, dim), "attn_k": (kv, dim), "attn_v": (kv, dim), "attn_output": (dim, dim)}
        shapes |= {"ffn_gate": (hidden, dim), "ffn_up": (hidden, dim), "ffn_down": (dim, hidden)}
        tensors |= {f"blk.{i}.{name}.weight": matrix(*shape) for name, shape in shapes.items()}
        tensors |= {f"blk.{i}.{name}.weight": np.ones(dim, np.float32) for name in ["attn_norm", "ffn_norm"]}
    w = gguf.GGUFWriter(path, "llama")
    w.add_context_length(64)
    w.add_embedding_length(dim)
    w.add_block_count(layers)
    w.add_feed_forward_length(hidden)
    w.add_rope_dimension_count(64)
    w.add_head_count(4)
    w.add_head_count_kv(2)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_tokenizer_model("llama")
    w.add_tokenizer_pre("default")
    w.add_token_list(["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)] + [f"w{i}" for i in range(253)])
    w.add_token_scores([0.0] * VOCABULARY)
    w.add_token_types([2, 3, 3] + [6] * 256 + [1] * 253)
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    for name, tensor in tensors.items():
        w.add_tensor(name, tensor)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main(loco):
    rng = np.random.default_rng(0)
    folder = pathlib.Path(tempfile.mkdtemp())
    for layers, tied in [(9, False), (16, True)]:
        source = folder / f"{layers}.gguf"
        write_llama(source, layers, tied, rng)
        for target, number in TARGETS.items():
            ours, theirs = folder / f"{layers}-{target}-loco.gguf", folder / f"{layers}-{target}-llama.gguf"
            subprocess.run([loco, "quantize", source, ours, "--to", target], check=True, stdout=subprocess.DEVNULL)
            params = llama_cpp.llama_model_quantize_default_params()
            params.ftype = number
            assert llama_cpp.llama_model_quantize(str(source).encode(), str(theirs).encode(), ctypes.byref(params)) == 0
            a, b = ({t.name: t for t in gguf.GGUFReader(p).tensors} for p in (ours, theirs))
            assert a.keys() == b.keys()
            for name in a:
                assert a[name].tensor_type == b[name].tensor_type, (target, name)
                assert np.array_equal(a[name].data.view(np.uint8), b[name].data.view(np.uint8)), (target, name)
            model = llama_cpp.Llama(str(ours), n_ctx=32, verbose=False)
            model.eval([1, 2, 3])
            print(f"{layers} layers, {'tied' if tied else 'own'} head, {target}: {len(a)} tensors equal")


main(sys.argv[1])
