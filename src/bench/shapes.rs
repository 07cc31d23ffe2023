//! True shapes of known bases, so that nobody needs a download to measure a machine.

use crate::quant::Format;

/// Sizes and formats of a base, as its published files have them.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// What `--shape` calls it.
    pub name: &'static str,
    /// GGUF architecture.
    pub arch: &'static str,
    /// Width of the residual stream.
    pub dim: usize,
    /// Layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Width of the feed-forward layer.
    pub ffn: usize,
    /// Vocabulary.
    pub vocab: usize,
    /// Longest sequence.
    pub context: usize,
    /// Base of the rotary frequencies.
    pub theta: f32,
    /// Formats of its tensors.
    pub mix: Mix,
}

/// Which format each tensor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// Linear layers I2_S; the embedding F16, which is the head too.
    TernaryTied,
    /// Linear layers I2_S; embedding and head F16, apart.
    TernaryUntied,
    /// llama.cpp's Q4_K_M: Q4_K, with Q6_K for half of `attn_v` and `ffn_down` and for the tied embedding.
    Q4KM,
}

/// The bases that `--shape` knows. Sizes are those of the published configurations.
pub const SHAPES: &[Shape] = &[
    Shape {
        name: "bitnet-2b4t",
        arch: "bitnet-b1.58",
        dim: 2560,
        layers: 30,
        heads: 20,
        kv_heads: 5,
        head_dim: 128,
        ffn: 6912,
        vocab: 128_256,
        context: 4096,
        theta: 500_000.0,
        mix: Mix::TernaryTied,
    },
    Shape {
        name: "falcon-e-1b",
        arch: "llama",
        dim: 2048,
        layers: 24,
        heads: 16,
        kv_heads: 2,
        head_dim: 128,
        ffn: 9216,
        vocab: 32_768,
        context: 32_768,
        theta: 1e6,
        mix: Mix::TernaryUntied,
    },
    Shape {
        name: "falcon-e-3b",
        arch: "llama",
        dim: 2048,
        layers: 32,
        heads: 16,
        kv_heads: 2,
        head_dim: 128,
        ffn: 13_312,
        vocab: 32_768,
        context: 32_768,
        theta: 1e6,
        mix: Mix::TernaryUntied,
    },
    Shape {
        name: "qwen3-4b-q4km",
        arch: "qwen3",
        dim: 2560,
        layers: 36,
        heads: 32,
        kv_heads: 8,
        head_dim: 128,
        ffn: 9728,
        vocab: 151_936,
        context: 40_960,
        theta: 1e6,
        mix: Mix::Q4KM,
    },
    Shape {
        name: "qwen3-0.6b-q4km",
        arch: "qwen3",
        dim: 1024,
        layers: 28,
        heads: 16,
        kv_heads: 8,
        head_dim: 128,
        ffn: 3072,
        vocab: 151_936,
        context: 40_960,
        theta: 1e6,
        mix: Mix::Q4KM,
    },
    Shape {
        name: "tiny",
        arch: "bitnet-b1.58",
        dim: 256,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 64,
        ffn: 768,
        vocab: 3072,
        context: 512,
        theta: 10_000.0,
        mix: Mix::TernaryTied,
    },
];

impl Shape {
    /// The shape called `name`.
    pub fn named(name: &str) -> Option<&'static Shape> {
        SHAPES.iter().find(|shape| shape.name == name)
    }

    /// The tensors: name, `[cols, rows]` (or `[len]`), format.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>, Format)> {
        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let table = if self.mix == Mix::Q4KM { Format::Q6_K } else { Format::F16 };
        let mut all = vec![("token_embd.weight".to_string(), vec![self.dim, self.vocab], table)];
        let norm = |all: &mut Vec<_>, name: String, len| all.push((name, vec![len], Format::F32));
        for layer in 0..self.layers {
            let name = |part: &str| format!("blk.{layer}.{part}.weight");
            for (part, cols, rows) in [
                ("attn_q", self.dim, q),
                ("attn_k", self.dim, kv),
                ("attn_v", self.dim, kv),
                ("attn_output", q, self.dim),
                ("ffn_gate", self.dim, self.ffn),
                ("ffn_up", self.dim, self.ffn),
                ("ffn_down", self.ffn, self.dim),
            ] {
                all.push((name(part), vec![cols, rows], self.linear(part, layer)));
            }
            norm(&mut all, name("attn_norm"), self.dim);
            norm(&mut all, name("ffn_norm"), self.dim);
            match self.arch {
                "bitnet-b1.58" => {
                    norm(&mut all, name("attn_sub_norm"), q);
                    norm(&mut all, name("ffn_sub_norm"), self.ffn);
                }
                "qwen3" => {
                    norm(&mut all, name("attn_q_norm"), self.head_dim);
                    norm(&mut all, name("attn_k_norm"), self.head_dim);
                }
                _ => {}
            }
        }
        norm(&mut all, "output_norm.weight".into(), self.dim);
        if self.mix == Mix::TernaryUntied {
            all.push(("output.weight".into(), vec![self.dim, self.vocab], table));
        }
        all
    }

    /// Format of a linear layer. Q4_K_M spends two bits more on `attn_v` and `ffn_down` of the first and last eighth of the
    /// layers and of every third between (llama.cpp, `use_more_bits`).
    fn linear(&self, part: &str, layer: usize) -> Format {
        let eighth = self.layers / 8;
        let more = layer < eighth || layer >= 7 * self.layers / 8 || (layer - eighth) % 3 == 2;
        match self.mix {
            Mix::TernaryTied | Mix::TernaryUntied => Format::I2_S,
            Mix::Q4KM if more && matches!(part, "attn_v" | "ffn_down") => Format::Q6_K,
            Mix::Q4KM => Format::Q4_K,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(name: &str, wanted: impl Fn(&str) -> bool) -> usize {
        let tensors = Shape::named(name).unwrap().tensors();
        let sizes = tensors.iter().filter(|t| wanted(&t.0));
        sizes.map(|(_, dims, format)| format.tensor_bytes(dims.iter().product()).unwrap()).sum()
    }

    /// 332 tensors of which 210 are I2_S, 521 MB of them, beside an F16 table of 657 MB: Microsoft's published file.
    #[test]
    fn bitnet_2b4t_is_as_large_as_the_published_file() {
        let tensors = Shape::named("bitnet-2b4t").unwrap().tensors();
        assert_eq!((tensors.len(), tensors.iter().filter(|t| t.2 == Format::I2_S).count()), (332, 210));
        assert_eq!(bytes("bitnet-2b4t", |name| name == "token_embd.weight"), 656_670_720);
        assert_eq!(bytes("bitnet-2b4t", |name| name.contains("blk.")) / 1_000_000, 522);
    }

    /// 999 MB and 665 MB by their model cards; Qwen3-4B-Q4_K_M.gguf has 2.50 GB with its vocabulary.
    #[test]
    fn the_others_are_as_large_as_their_cards_say() {
        for (name, card, slack) in [("falcon-e-3b", 999, 1), ("falcon-e-1b", 665, 1), ("qwen3-4b-q4km", 2500, 10)] {
            let megabytes = bytes(name, |_| true) / 1_000_000;
            assert!((card - slack..=card).contains(&megabytes), "{name}: {megabytes} MB");
        }
    }
}
