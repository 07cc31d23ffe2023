"""Makes the golden models in tests/golden: tiny random checkpoints of the true architectures as Hugging Face
folders, and what `transformers` computes with them.

    pip install -r requirements.txt
    python make_golden.py [CASE ...]

Each folder has config.json, model.safetensors, tokenizer.json, tokenizer_config.json, and expected.safetensors:

    ids.S         i32 [n]          token ids of sequence S
    logits.S      f32 [n, vocab]   logits at every position
    hidden.S.X    f32 [n, dim]     (sequence 1 only) residual stream: X = embedding, or layer.L after layer L
    greedy.S      i32 [m]          greedy continuation of the first half of sequence S
    exact.S       f32 [n, vocab]   (ternary cases) the same network in float64 with integer products, from this file's own code
    exact.S.X     f32 [n, dim]     (ternary cases, sequence 1) its residual stream
    perplexity.*  (llama-untied) ids, context and stride of windows, and the mean loss per token: the recipe "Perplexity of
                  fixed-length models" of the documentation of transformers, each scored token counted once
    margin.S      f64 [1]          (ternary cases) how near the nearest activation came to an int8 rounding tie

All logits of `transformers` are computed in float32 on the weights as stored. Weights are drawn wide enough that
attention is far from uniform and a wrong norm, angle or head shows in the first digits. For the ternary cases the seed
is the first of those tried whose margin is far above f32 rounding, so that no correct engine meets a tie.
"""

import json
import os
import shutil
import sys
from pathlib import Path

os.environ["TORCHDYNAMO_DISABLE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file as save_numpy
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers.integrations.bitnet import pack_weights, replace_with_bitnet_linear
from transformers.utils.quantization_config import BitNetQuantConfig

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
LENGTHS = [26, 9]
SEEDS = 200
MIN_MARGIN = 1e-4

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)


# --- The cases -------------------------------------------------------------------------------------------------------

def base(vocab, hidden, ffn, layers, heads, kv_heads, **more):
    return dict(vocab_size=vocab, hidden_size=hidden, intermediate_size=ffn, num_hidden_layers=layers, num_attention_heads=heads,
                num_key_value_heads=kv_heads, max_position_embeddings=128, bos_token_id=0, eos_token_id=1, pad_token_id=None, **more)


LLAMA3_ROPE = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)
GEMMA = dict(bos_token_id=2, pad_token_id=0, query_pre_attn_scalar=16, head_dim=16, sliding_window=8, rms_norm_eps=1e-6)

# name: architecture, configuration, data type of the stored weights, ternary mode, keys of config.json to rewrite as older versions have them
CASES = {
    # Microsoft's BitNet b1.58 2B4T: packed offline weights whose scale multiplies.
    "bitnet-packed": dict(kind="bitnet", ternary="autobitlinear", dtype="bf16", tokenizer="bytes", old=dict(rope_theta=500000.0),
                          config=base(128, 128, 256, 2, 4, 2, tie_word_embeddings=True, rms_norm_eps=1e-5,
                                      rope_parameters=dict(rope_type="default", rope_theta=500000.0))),
    # Its -bf16 sibling: master weights that are quantised while running. Row lengths that no block format divides.
    "bitnet-online": dict(kind="bitnet", ternary="online", dtype="bf16", tokenizer="bytes",
                          config=base(130, 72, 100, 2, 6, 2, tie_word_embeddings=True, rms_norm_eps=1e-5,
                                      rope_parameters=dict(rope_type="default", rope_theta=10000.0))),
    # Falcon-E: a Llama with packed weights whose scale divides, and a head of its own.
    "falcon-e": dict(kind="llama", ternary="bitlinear", dtype="bf16", tokenizer="bytes", old=dict(rope_theta=1000042),
                     config=base(128, 128, 256, 2, 4, 2, tie_word_embeddings=False, rms_norm_eps=1e-5,
                                 rope_parameters=dict(rope_type="default", rope_theta=1000042.0))),
    "llama-untied": dict(kind="llama", dtype="f32", tokenizer="bytes",
                         config=base(131, 40, 72, 2, 5, 1, tie_word_embeddings=False, rms_norm_eps=1e-6,
                                     rope_parameters=dict(rope_type="default", rope_theta=10000.0))),
    # Llama 3.2: tied, llama3 rope scaling, as its config.json of 2024 writes it.
    "llama-scaled": dict(kind="llama", dtype="bf16", tokenizer="bytes", old=dict(rope_theta=500000.0, rope_scaling=LLAMA3_ROPE),
                         config=base(128, 64, 80, 2, 4, 1, tie_word_embeddings=True, rms_norm_eps=1e-5,
                                     rope_parameters=dict(LLAMA3_ROPE, rope_theta=500000.0))),
    # Heads wider than hidden / heads, and linear rope scaling.
    "llama-wide-heads": dict(kind="llama", dtype="f16", tokenizer="bytes",
                             config=base(128, 64, 96, 2, 4, 2, head_dim=24, tie_word_embeddings=False, rms_norm_eps=1e-5,
                                         rope_parameters=dict(rope_type="linear", factor=2.0, rope_theta=10000.0))),
    # SmolLM2 135M's proportions: 9 heads share 3, hidden no power of two.
    "smollm2": dict(kind="llama", dtype="bf16", tokenizer="bytes", old=dict(rope_theta=100000, head_dim=None),
                    config=base(128, 72, 64, 2, 9, 3, tie_word_embeddings=True, rms_norm_eps=1e-5,
                                rope_parameters=dict(rope_type="default", rope_theta=100000.0))),
    "qwen3-tied": dict(kind="qwen3", dtype="bf16", tokenizer="bytes", old=dict(rope_theta=1000000, rope_scaling=None),
                       config=base(128, 64, 64, 2, 4, 2, head_dim=32, tie_word_embeddings=True, rms_norm_eps=1e-6,
                                   rope_parameters=dict(rope_type="default", rope_theta=1000000.0))),
    "qwen3-untied": dict(kind="qwen3", dtype="bf16", tokenizer="bytes",
                         config=base(133, 60, 64, 2, 6, 3, head_dim=12, tie_word_embeddings=False, rms_norm_eps=1e-6,
                                     rope_parameters=dict(rope_type="default", rope_theta=1000000.0))),
    # Seven layers, since every sixth sees the whole sequence; the window of 8 is far smaller than the sequence.
    "gemma3": dict(kind="gemma3", dtype="bf16", tokenizer="pieces",
                   old=dict(rope_theta=1000000.0, rope_local_base_freq=10000.0, rope_scaling=None, sliding_window_pattern=6),
                   config=base(128, 32, 56, 7, 2, 1) | GEMMA),
    # Gemma 3 4B scales the angles of its global layers linearly.
    "gemma3-scaled": dict(kind="gemma3", dtype="bf16", tokenizer="pieces",
                          config=base(128, 36, 40, 7, 4, 2) | GEMMA | dict(
                              rope_parameters=dict(full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1000000.0),
                                                   sliding_attention=dict(rope_type="default", rope_theta=10000.0)))),
}
CLASSES = dict(
    bitnet=(transformers.BitNetConfig, transformers.BitNetForCausalLM),
    llama=(transformers.LlamaConfig, transformers.LlamaForCausalLM),
    qwen3=(transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
    gemma3=(transformers.Gemma3TextConfig, transformers.Gemma3ForCausalLM),
)
DTYPES = dict(f32=torch.float32, bf16=torch.bfloat16, f16=torch.float16)
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


# --- Weights ---------------------------------------------------------------------------------------------------------

def random_weights(model, case, seed):
    """Random weights by name, as the file will hold them (ternary ones still as floats)."""
    random = torch.Generator().manual_seed(seed)
    gemma = case["kind"] == "gemma3"
    weights = {}
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=random)
        if name.endswith("norm.weight"):
            value = (0.0 if gemma else 1.0) + 0.3 * noise
        elif "embed_tokens" in name:
            value = noise * (0.5 if gemma else 1.0)
        elif "q_proj" in name or "k_proj" in name:
            value = noise * (1.6 / parameter.shape[1] ** 0.5)
        elif "lm_head" in name:
            value = noise * (2.0 / parameter.shape[1] ** 0.5)
        else:
            value = noise * (1.0 / parameter.shape[1] ** 0.5)
        weights[name] = value.to(DTYPES[case["dtype"]])
    return weights


def absmean(weight):
    """Codes and scale of master weights, as `WeightQuant` of transformers has them."""
    scale = 1.0 / weight.float().abs().mean().clamp_(min=1e-5)
    return (weight.float() * scale).round().clamp(-1, 1), 1.0 / scale


def store(weights, case):
    """The tensors of model.safetensors: ternary layers packed where the case says so."""
    if case.get("ternary") not in ("autobitlinear", "bitlinear"):
        return weights
    stored = {}
    for name, weight in weights.items():
        if any(f".{linear}.weight" in name for linear in LINEARS):
            codes, scale = absmean(weight)
            stored[name] = pack_weights(codes.clone())
            stored[name + "_scale"] = (scale if case["ternary"] == "autobitlinear" else 1.0 / scale).reshape(1).to(torch.bfloat16)
        else:
            stored[name] = weight
    return stored


def load(config, model_class, stored, case):
    """A float32 model of transformers with the stored weights."""
    model = model_class(config)
    if mode := case.get("ternary"):
        quantization = BitNetQuantConfig(
            linear_class="bitlinear" if mode == "bitlinear" else "autobitlinear",
            quantization_mode="online" if mode == "online" else "offline",
            modules_to_not_convert=["lm_head"],
        )
        replace_with_bitnet_linear(model, ["lm_head"], quantization)
    tensors = {}
    for name, tensor in stored.items():
        if tensor.dtype == torch.uint8 and case["ternary"] == "autobitlinear":
            tensor = transformers.integrations.bitnet.unpack_weights(tensor, torch.float32)
        tensors[name] = tensor if tensor.dtype == torch.uint8 else tensor.float()
    if config.tie_word_embeddings:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    missing, unexpected = model.load_state_dict(tensors, strict=False, assign=True)
    assert not missing and not unexpected, (missing, unexpected)
    return model.eval()


# --- What transformers computes --------------------------------------------------------------------------------------

@torch.no_grad()
def run(model, ids):
    """Logits, and the residual stream after the embedding and after each layer."""
    hidden = {}

    def before(module, args, kwargs):
        hidden["embedding"] = (args[0] if args else kwargs["hidden_states"])[0]

    def after(i):
        def hook(module, args, output):
            hidden[f"layer.{i}"] = (output[0] if isinstance(output, tuple) else output)[0]
        return hook

    layers = model.model.layers
    hooks = [layers[0].register_forward_pre_hook(before, with_kwargs=True)] + [layer.register_forward_hook(after(i)) for i, layer in enumerate(layers)]
    logits = model(torch.tensor([ids]), use_cache=False).logits[0]
    for hook in hooks:
        hook.remove()
    assert logits.dtype == torch.float32
    return logits, {name: value.clone().float() for name, value in hidden.items()}


@torch.no_grad()
def greedy(model, ids, count):
    ids = list(ids)
    start = len(ids)
    for _ in range(count):
        logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        best = logits.topk(2)
        if best.values[0] - best.values[1] < 1e-3 * logits.abs().max():
            break  # too near a draw to be a fair question
        ids.append(int(best.indices[0]))
    return ids[start:]


@torch.no_grad()
def strided_loss(model, ids, context, stride):
    """Mean loss of a token in nats, windows of `context` every `stride`."""
    total, count, previous = 0.0, 0, 0
    for begin in range(0, len(ids), stride):
        end = min(begin + context, len(ids))
        window = torch.tensor([ids[begin:end]])
        labels = window.clone()
        labels[:, : -(end - previous)] = -100
        scored = int((labels[:, 1:] != -100).sum())
        total += float(model(window, labels=labels, use_cache=False).loss) * scored
        count += scored
        previous = end
        if end == len(ids):
            break
    return total / count, count


# --- The ternary networks once more, in float64 with integer products --------------------------------------------------

class Exact:
    """BitNet b1.58 2B4T and ternary Llama from their definitions, independent of transformers. All floats are f64."""

    def __init__(self, stored, case):
        self.c, self.bitnet, self.margin = case["config"], case["kind"] == "bitnet", np.inf
        self.w, self.codes = {}, {}
        for name, tensor in stored.items():
            if name.endswith("weight_scale"):
                continue
            short = name.removeprefix("model.").removesuffix(".weight")
            if short.endswith(LINEARS):
                if tensor.dtype == torch.uint8:
                    packed = tensor.numpy()
                    codes = np.concatenate([(packed >> shift & 3).astype(np.int64) - 1 for shift in (0, 2, 4, 6)])
                    scale = float(stored[name + "_scale"].float())
                    scale = scale if case["ternary"] == "autobitlinear" else 1.0 / scale
                else:
                    masters = tensor.double().numpy()
                    scale = max(np.abs(masters).mean(), 1e-5)
                    codes = np.clip(np.rint(masters / scale), -1, 1).astype(np.int64)
                self.codes[short] = (codes, scale)
            else:
                self.w[short] = tensor.double().numpy()

    def linear(self, name, x):
        codes, scale = self.codes[name]
        largest = np.maximum(np.abs(x).max(-1, keepdims=True), 1e-5)
        y = x * 127.0 / largest
        self.margin = min(self.margin, np.abs(np.abs(y - np.floor(y)) - 0.5).min())
        q = np.clip(np.rint(y), -128, 127).astype(np.int64)
        return (q @ codes.T) * (largest / 127.0 * scale)

    def norm(self, name, x):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.c["rms_norm_eps"]) * self.w[name]

    def rotate(self, x):
        n, d = x.shape[0], x.shape[-1]
        angle = np.arange(n)[:, None] * self.c["rope_parameters"]["rope_theta"] ** (-np.arange(0, d, 2) / d)
        cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
        a, b = x[..., : d // 2], x[..., d // 2 :]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    def attention(self, layer, x):
        n, heads, kv_heads = x.shape[0], self.c["num_attention_heads"], self.c["num_key_value_heads"]
        d = self.c["hidden_size"] // heads
        part = lambda name, count: self.linear(f"{layer}.self_attn.{name}_proj", x).reshape(n, count, d)
        q, k, v = self.rotate(part("q", heads)), self.rotate(part("k", kv_heads)), part("v", kv_heads)
        out = np.zeros((n, heads, d))
        for h in range(heads):
            g = h // (heads // kv_heads)
            score = q[:, h] @ k[:, g].T / np.sqrt(d)
            score[np.triu_indices(n, 1)] = -np.inf
            weight = np.exp(score - score.max(-1, keepdims=True))
            out[:, h] = weight / weight.sum(-1, keepdims=True) @ v[:, g]
        out = out.reshape(n, -1)
        if self.bitnet:
            out = self.norm(f"{layer}.self_attn.attn_sub_norm", out)
        return self.linear(f"{layer}.self_attn.o_proj", out)

    def feed_forward(self, layer, x):
        gate, up = self.linear(f"{layer}.mlp.gate_proj", x), self.linear(f"{layer}.mlp.up_proj", x)
        if self.bitnet:
            y = self.norm(f"{layer}.mlp.ffn_sub_norm", np.maximum(gate, 0) ** 2 * up)
        else:
            y = gate / (1 + np.exp(-gate)) * up
        return self.linear(f"{layer}.mlp.down_proj", y)

    def run(self, ids):
        x = self.w["embed_tokens"][ids]
        hidden = {"embedding": x}
        for i in range(self.c["num_hidden_layers"]):
            layer = f"layers.{i}"
            x = x + self.attention(layer, self.norm(f"{layer}.input_layernorm", x))
            x = x + self.feed_forward(layer, self.norm(f"{layer}.post_attention_layernorm", x))
            hidden[f"layer.{i}"] = x
        return self.norm("norm", x) @ self.w.get("lm_head", self.w["embed_tokens"]).T, hidden


# --- Tokenizers ------------------------------------------------------------------------------------------------------

PAIRS = ["Ġ t", "h e", "i n", "Ġ a", "r e", "o n", "e r", "Ġ s", "a t", "e n", "o r", "in g", "i t", "o u", "i s", "a l", "a n", "Ġt he",
         "a r", "s t", "Ġ o", "Ġ w", "l e", "n d", "Ġ b"]


def add_merges(tokens, vocab, pairs):
    """`tokens` and what `pairs` merge into, up to two less than `vocab`: many real models have rows without a token."""
    merges = [tuple(pair.split()) for pair in pairs][: vocab - 2 - len(tokens)]
    return tokens + ["".join(merge) for merge in merges], merges


def bytes_tokenizer(vocab):
    """Byte-level BPE over printable ASCII, space and newline, as GPT-2 and Llama 3 write it."""
    tokens = ["<|bos|>", "<|eos|>"] + [chr(c) for c in range(0x21, 0x7F)] + ["Ġ", "Ċ"]
    tokens, merges = add_merges(tokens, vocab, PAIRS)
    t = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.TemplateProcessing(single="<|bos|> $A", pair="<|bos|> $A <|bos|> $B", special_tokens=[("<|bos|>", 0)])
    t.add_special_tokens(["<|bos|>", "<|eos|>"])
    return t, dict(bos_token="<|bos|>", eos_token="<|eos|>", tokenizer_class="PreTrainedTokenizerFast",
                   chat_template="{% for m in messages %}{{ m['role'] + ': ' + m['content'] + eos_token }}{% endfor %}")


def pieces_tokenizer(vocab):
    """SentencePiece-style BPE with byte fallback, as Gemma writes it (a few of the 256 bytes only)."""
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>"] + [f"<0x{b:02X}>" for b in (0x09, 0x0A, 0xC3, 0xA9)]
    tokens += ["▁"] + [chr(c) for c in range(0x21, 0x7F)]
    tokens, merges = add_merges(tokens, vocab, [pair.replace("Ġ", "▁") for pair in PAIRS])
    t = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    t.normalizer = normalizers.Replace(" ", "▁")
    t.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    t.post_processor = processors.TemplateProcessing(single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", 2)])
    t.add_special_tokens(["<pad>", "<eos>", "<bos>", "<unk>"])
    return t, dict(bos_token="<bos>", eos_token="<eos>", unk_token="<unk>", pad_token="<pad>", add_bos_token=True, tokenizer_class="GemmaTokenizer")


# --- Folders ---------------------------------------------------------------------------------------------------------

def write_config(folder, config, case):
    saved = config.to_diff_dict() | {"architectures": [CLASSES[case["kind"]][1].__name__], "torch_dtype": str(DTYPES[case["dtype"]]).removeprefix("torch.")}
    saved = {k: v for k, v in saved.items() if k != "dtype" and not k.startswith("_")}
    for key in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
                "max_position_embeddings", "rms_norm_eps", "tie_word_embeddings", "bos_token_id", "eos_token_id"):
        saved[key] = getattr(config, key)
    if old := case.get("old"):
        saved.pop("rope_parameters", None)
        saved.pop("layer_types", None)
        saved = {k: v for k, v in (saved | old).items() if k == "rope_scaling" or v is not None}
    if mode := case.get("ternary"):
        saved["quantization_config"] = dict(
            quant_method="bitnet", linear_class="bitlinear" if mode == "bitlinear" else "autobitlinear",
            quantization_mode="online" if mode == "online" else "offline", modules_to_not_convert=["lm_head"] if mode == "bitlinear" else None)
    (folder / "config.json").write_text(json.dumps(saved, indent=1, sort_keys=True) + "\n")
    # The file must mean to transformers what the model was built with.
    read = CLASSES[case["kind"]][0].from_pretrained(folder)
    a, b = read.to_dict(), config.to_dict()
    rope = lambda r: {k: ({i: float(j) if not isinstance(j, str) else j for i, j in v.items()} if isinstance(v, dict) else v if isinstance(v, str) else float(v)) for k, v in r.items()}
    assert rope(a["rope_parameters"]) == rope(b["rope_parameters"]), (a["rope_parameters"], b["rope_parameters"])
    for key in b:
        if key in a and key not in ("rope_parameters", "dtype", "architectures", "quantization_config", "transformers_version"):
            assert a[key] == b[key], (key, a[key], b[key])


def sequences(vocab, seed):
    random = np.random.default_rng(seed)
    return [[0] + random.integers(2, vocab, n - 1).tolist() for n in LENGTHS]


def make(name, case):
    config_class, model_class = CLASSES[case["kind"]]
    config = config_class(**case["config"])
    config._attn_implementation = "eager"
    folder = GOLDEN / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)

    number = list(CASES).index(name)
    for attempt in range(SEEDS if case.get("ternary") else 1):
        seed = 1000 * number + attempt
        stored = store(random_weights(model_class(config), case, seed), case)
        ids = sequences(config.vocab_size, seed)
        if not case.get("ternary"):
            break
        exact = Exact(stored, case)
        exact.run(ids[1])
        if exact.margin > MIN_MARGIN:
            break
    if config.tie_word_embeddings:
        stored.pop("lm_head.weight", None)
    model = load(config, model_class, stored, case)

    expected = {}
    for s, sequence in enumerate(ids):
        logits, hidden = run(model, sequence)
        expected[f"ids.{s}"] = np.array(sequence, np.int32)
        expected[f"logits.{s}"] = logits.numpy()
        expected[f"greedy.{s}"] = np.array(greedy(model, sequence[: len(sequence) // 2], 16), np.int32)
        if s == 1:
            expected |= {f"hidden.{s}.{x}": value.numpy() for x, value in hidden.items()}
        if case.get("ternary"):
            exact = Exact(stored, case)
            logits64, hidden64 = exact.run(sequence)
            expected[f"exact.{s}"] = logits64.astype(np.float32)
            expected[f"margin.{s}"] = np.array([exact.margin])
            if s == 1:
                expected |= {f"exact.{s}.{x}": value.astype(np.float32) for x, value in hidden64.items()}
            difference = np.abs(logits64 - logits.numpy()).max() / np.abs(logits64).max()
            print(f"  sequence {s}: margin {exact.margin:.1e}, transformers differs from float64 by {difference:.1e}")
            assert s == 0 or difference < 1e-5, "transformers and the float64 reference disagree without a tie"

    if name == "llama-untied":
        text = [0] + np.random.default_rng(7).integers(2, config.vocab_size, 149).tolist()
        loss, count = strided_loss(model, text, 48, 20)
        assert count == len(text) - 1
        expected |= {"perplexity.ids": np.array(text, np.int32), "perplexity.windows": np.array([48, 20], np.int32), "perplexity.loss": np.array([loss])}

    save_file({k: v.contiguous() for k, v in stored.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    save_numpy({k: np.ascontiguousarray(v) for k, v in expected.items()}, folder / "expected.safetensors")
    write_config(folder, config, case)
    tokenizer, tokenizer_config = dict(bytes=bytes_tokenizer, pieces=pieces_tokenizer)[case["tokenizer"]](config.vocab_size)
    (folder / "tokenizer.json").write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":")) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config, indent=1) + "\n")
    spread = float(np.abs(expected["logits.0"]).max())
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{name}: seed {seed}, {size // 1000} kB, max |logit| {spread:.1f}, greedy {len(expected['greedy.0'])} + {len(expected['greedy.1'])} tokens")


if __name__ == "__main__":
    for name in sys.argv[1:] or CASES:
        make(name, CASES[name])
