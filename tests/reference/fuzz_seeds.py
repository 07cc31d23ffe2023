"""Makes the seeds in fuzz/corpus: small model files and request bodies.

    pip install gguf numpy
    python tests/reference/fuzz_seeds.py
"""

import json
import pathlib
import struct

import gguf
import numpy as np

CORPUS = pathlib.Path(__file__).parent.parent.parent / "fuzz/corpus"
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'].strip() }}<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def values():
    """Every type of metadata, and a tensor of every format that is known to the gguf package."""
    w = gguf.GGUFWriter(CORPUS / "gguf/values.gguf", "llama")
    for name in ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]:
        getattr(w, f"add_{name}")(name, 7)
    w.add_float32("float32", 0.5)
    w.add_float64("float64", 0.5)
    w.add_bool("bool", True)
    w.add_string("string", "Grüße")
    w.add_array("ints", [1, 2, 3])
    w.add_array("floats", [1.0, 2.0])
    w.add_array("strings", ["a", "bc", ""])
    rng = np.random.default_rng(0)
    for kind in ["F32", "F16", "BF16", "Q4_0", "Q8_0", "Q4_K", "Q5_K", "Q6_K", "TQ1_0", "TQ2_0"]:
        kind = gguf.GGMLQuantizationType[kind]
        block, size = gguf.GGML_QUANT_SIZES[kind]
        raw = rng.integers(0, 120, (1, max(1, 32 // block) * size), dtype=np.uint8)
        w.add_tensor(kind.name, raw, raw_dtype=kind)
    finish(w)


def raw(name, tensors, version=3):
    """A file that the gguf package cannot write. Tensors are (name, dims, type id, bytes)."""
    length = "<I" if version == 1 else "<Q"
    out = b"GGUF" + struct.pack("<I", version) + struct.pack(length, len(tensors)) + struct.pack(length, 0)
    offset = 0
    for tensor, dims, kind, size in tensors:
        out += struct.pack(length, len(tensor)) + tensor.encode() + struct.pack("<I", len(dims))
        out += b"".join(struct.pack(length, d) for d in dims) + struct.pack("<IQ", kind, offset)
        offset += -(-size // 32) * 32
    out += bytes(-len(out) % 32) + bytes(range(256)) * (offset // 256) + bytes(offset % 256)
    (CORPUS / "gguf" / name).write_bytes(out)


def tokenizers():
    letters = [bytes([b]).decode("latin-1") for b in [*range(33, 127), *range(161, 173), *range(174, 256)]]
    letters += [chr(256 + i) for i in range(256 - len(letters))]
    special = ["<|bos|>", "<|eot|>", "<|user|>", "<|assistant|>"]
    merges = ["h e", "l l", "he ll", "hell o", "Ġ w", "1 2"]
    w = gguf.GGUFWriter(CORPUS / "tokenizer/bpe.gguf", "llama")
    tokens = special + letters + [m.replace(" ", "") for m in merges]
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("llama-bpe")
    w.add_token_list(tokens)
    w.add_token_types([3] * len(special) + [1] * (len(tokens) - len(special)))
    w.add_token_merges(merges)
    w.add_bos_token_id(0)
    w.add_eos_token_id(1)
    w.add_chat_template(TEMPLATE)
    finish(w)

    w = gguf.GGUFWriter(CORPUS / "tokenizer/spm.gguf", "llama")
    pieces = ["▁", "e", "l", "o", "H", "He", "ll", "llo", "▁w", "ö", "1", "2", "12"]
    w.add_tokenizer_model("llama")
    w.add_tokenizer_pre("default")
    w.add_token_list(["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)] + pieces)
    w.add_token_scores([0.0] * 259 + [-float(i) for i in range(len(pieces))])
    w.add_token_types([2, 3, 3] + [6] * 256 + [1] * len(pieces))
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_add_bos_token(True)
    w.add_chat_template(TEMPLATE)
    finish(w)


def requests():
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi \\ud83d\\ude00"}]
    bodies = {
        "openai-chat": {
            "model": "demo", "messages": chat, "stream": True, "stream_options": {"include_usage": True},
            "temperature": 0.7, "top_p": 0.9, "max_tokens": 64, "stop": ["\n", "end"], "seed": 1, "n": 2,
            "logprobs": True, "top_logprobs": 3, "logit_bias": {"5": -100}, "presence_penalty": 0.1,
            "response_format": {"type": "text"},
        },
        "openai-parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]},
        "openai-completion": {"prompt": ["a", "b"], "echo": True, "logprobs": 2, "max_tokens": 0, "suffix": None},
        "openai-ids": {"prompt": [[1, 2, 3]], "stop": "x", "best_of": 1},
        "ollama-chat": {
            "model": "demo", "messages": chat, "stream": False, "keep_alive": "5m",
            "options": {"num_predict": 5, "temperature": 0, "top_k": 40, "repeat_penalty": 1.1, "stop": ["x"], "seed": 3},
        },
        "ollama-generate": {"model": "demo", "prompt": "Why?", "system": "s", "raw": True, "context": [1, 2], "format": ""},
    }
    for name, body in bodies.items():
        (CORPUS / "requests" / f"{name}.json").write_text(json.dumps(body))


def main():
    for target in ["gguf", "tokenizer", "requests"]:
        (CORPUS / target).mkdir(parents=True, exist_ok=True)
    values()
    raw("version-1.gguf", [("x", [4, 2], 0, 32)], version=1)
    raw("ternary.gguf", [("i2_s", [128, 2], 36, 96), ("q2_0", [128, 32], 42, 1152)])
    raw("groups-of-128.gguf", [("q2_0", [128, 32], 42, 1088)])
    tokenizers()
    requests()


main()
