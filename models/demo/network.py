"""The network: BitNet b1.58 as the engine's `bitnet-b1.58` computes it, and its full-precision twin.

Every linear layer multiplies int8 activations (absmax per token) with ternary weights (absmean per
tensor) and passes gradients straight through, after "The Era of 1-bit LLMs" (arXiv 2402.17764).
The twin has the same blocks with plain linear layers. Embedding and head are tied and not quantised.
"""
import math
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass(frozen=True)
class Shape:
    """Sizes of a model. All row lengths are multiples of 256, so that every GGUF block type fits."""
    dim: int = 256
    layers: int = 6
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    ffn: int = 768
    vocab: int = 3072
    context: int = 512
    theta: float = 10000.0
    eps: float = 1e-5


def ternary(w):
    """Codes in {-1, 0, 1} and the scale of a weight matrix: w ~ codes * scale."""
    scale = w.abs().mean().clamp(min=1e-5)
    return (w / scale).round().clamp(-1, 1), scale


class TernaryProduct(torch.autograd.Function):
    """int8 activations times ternary weights; the gradient ignores both roundings."""

    @staticmethod
    def forward(ctx, x, w, exact):
        shape = x.shape
        x2 = x.reshape(-1, shape[-1])
        # All codes are small integers: bf16 holds them exactly and sums them in f32.
        kind = torch.float32 if exact else torch.bfloat16
        codes, scale = ternary(w)
        codes = codes.to(kind)
        sx = x2.abs().amax(1, keepdim=True).clamp(min=1e-5).float() / 127
        xq = (x2 / sx).round().to(kind)
        if exact:
            scale = scale.half().float()  # as stored in the file
        y = (xq @ codes.t()).float() * (sx * scale)
        ctx.save_for_backward(xq, codes, sx, scale)
        ctx.shape = shape
        return y.to(x.dtype).view(*shape[:-1], w.shape[0])

    @staticmethod
    def backward(ctx, g):
        xq, codes, sx, scale = ctx.saved_tensors
        kind = codes.dtype
        g2 = g.reshape(-1, g.shape[-1])
        gx = ((g2.to(kind) @ codes) * scale.to(kind)).float().view(ctx.shape)
        return gx, ((g2 * sx).to(kind).t() @ xq).float(), None


class Linear(nn.Module):
    """A linear layer without bias; `precision` is "ternary" or "full"."""

    def __init__(self, inputs, outputs, precision, gain=1.0):
        super().__init__()
        std = 0.02 * math.sqrt(320 / inputs) * gain
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * std)
        self.precision = precision
        self.exact = False

    def forward(self, x):
        if self.precision == "ternary":
            return TernaryProduct.apply(x, self.weight, self.exact)
        if self.exact:
            return F.linear(x, self.weight)
        return F.linear(x.bfloat16(), self.weight.bfloat16()).float()


def rms(x, gain, eps):
    return F.rms_norm(x, (x.shape[-1],), gain, eps)


class Block(nn.Module):
    def __init__(self, s, precision):
        super().__init__()
        self.s = s
        wide, narrow = s.heads * s.head_dim, s.kv_heads * s.head_dim
        out = 1 / math.sqrt(2 * s.layers)
        lin = lambda i, o, gain=1.0: Linear(i, o, precision, gain)
        one = lambda n: nn.Parameter(torch.ones(n))
        self.attn_q, self.attn_k, self.attn_v = lin(s.dim, wide), lin(s.dim, narrow), lin(s.dim, narrow)
        self.attn_output = lin(wide, s.dim, out)
        self.ffn_gate, self.ffn_up, self.ffn_down = lin(s.dim, s.ffn), lin(s.dim, s.ffn), lin(s.ffn, s.dim, out)
        self.attn_norm, self.attn_sub_norm = one(s.dim), one(wide)
        self.ffn_norm, self.ffn_sub_norm = one(s.dim), one(s.ffn)

    def forward(self, x, cos, sin):
        s = self.s
        rows, width, _ = x.shape
        h = rms(x, self.attn_norm, s.eps)
        heads = lambda t, n: t.view(rows, width, n, s.head_dim).transpose(1, 2)
        q = rope(heads(self.attn_q(h), s.heads), cos, sin)
        k = rope(heads(self.attn_k(h), s.kv_heads), cos, sin)
        v = heads(self.attn_v(h), s.kv_heads)
        share = s.heads // s.kv_heads
        a = F.scaled_dot_product_attention(
            q, k.repeat_interleave(share, 1), v.repeat_interleave(share, 1), is_causal=True)
        a = a.transpose(1, 2).reshape(rows, width, -1)
        x = x + self.attn_output(rms(a, self.attn_sub_norm, s.eps))
        h = rms(x, self.ffn_norm, s.eps)
        h = F.relu(self.ffn_gate(h)).square() * self.ffn_up(h)
        return x + self.ffn_down(rms(h, self.ffn_sub_norm, s.eps))


def rope(t, cos, sin):
    """Rotary positions in NEOX order: dimension i pairs with i + head_dim / 2."""
    a, b = t.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Model(nn.Module):
    """Token ids [rows, width] to logits [rows, width, vocab]."""

    def __init__(self, shape, precision="ternary"):
        super().__init__()
        self.shape, self.precision, self.exact = shape, precision, False
        self.token_embd = nn.Embedding(shape.vocab, shape.dim)
        self.token_embd.weight.data.normal_(0, 0.02)
        self.blk = nn.ModuleList(Block(shape, precision) for _ in range(shape.layers))
        self.output_norm = nn.Parameter(torch.ones(shape.dim))
        half = torch.arange(0, shape.head_dim, 2) / shape.head_dim
        angle = torch.arange(shape.context)[:, None] * (shape.theta ** -half)[None]
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def trunk(self, ids):
        """Ids to the normed state before the head, [rows, width, dim]."""
        width = ids.shape[1]
        h = self.token_embd(ids)
        cos, sin = self.cos[:width], self.sin[:width]
        for block in self.blk:
            h = block(h, cos, sin)
        return rms(h, self.output_norm, self.shape.eps)

    def head(self, h):
        e = self.token_embd.weight
        return h @ e.t() if self.exact else F.linear(h.bfloat16(), e.bfloat16()).float()

    def forward(self, ids):
        return self.head(self.trunk(ids))

    def at(self, ids, places):
        """Logits [n, vocab] at the n places where the mask [rows, width] is set."""
        return self.head(self.trunk(ids)[places])

    def linears(self):
        """(name, layer) of every linear layer, with the tensor's name in the files."""
        return [(f"{n}.weight", m) for n, m in self.named_modules() if isinstance(m, Linear)]

    def ternary_parameters(self):
        return sum(m.weight.numel() for _, m in self.linears())
