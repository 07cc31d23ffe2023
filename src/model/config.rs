//! Hyperparameters of a base, as GGUF files declare them.

use super::Error;
use crate::gguf::{Array, File, Value};

/// Hyperparameters of a base.
#[derive(Debug, Clone)]
pub struct Config {
    /// GGUF architecture, e.g. `bitnet-b1.58`.
    pub arch: String,
    /// The file's `general.name`, if any.
    pub name: Option<String>,
    /// Vocabulary size.
    pub vocab: usize,
    /// Longest sequence the base was trained for.
    pub context: usize,
    /// Width of the residual stream.
    pub dim: usize,
    /// Layers.
    pub layers: usize,
    /// Width of the feed-forward layer.
    pub ffn: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    /// Width of a head (keys and values alike).
    pub head_dim: usize,
    /// Added to the mean square in RMSNorm.
    pub norm_eps: f32,
    /// Nonlinearity of the gate.
    pub activation: Activation,
    /// Embeddings are multiplied by this (Gemma: √dim).
    pub embedding_scale: f32,
    /// Dot products of queries and keys are multiplied by this (usually 1/√head_dim).
    pub attention_scale: f32,
    /// Logits become `cap · tanh(logits / cap)` if the file declares it.
    pub logit_cap: Option<f32>,
    /// Rotary position embedding of layers that see the whole sequence.
    pub rope: Rope,
    /// Rotary position embedding of layers that see a window (the same where an architecture has only one).
    pub window_rope: Rope,
    /// How many positions a windowed layer sees, its own included.
    pub window: Option<usize>,
    /// For each layer, whether it sees only the window.
    pub windowed: Vec<bool>,
    /// Whether every linear layer quantises its input to int8 and its weights to {−1, 0, 1} by the
    /// network's own definition (BitNet b1.58, arXiv 2402.17764), whatever the file's format.
    pub bit_linear: bool,
    /// Whether the inputs of `attn_output` and `ffn_down` are normalised (BitNet b1.58 2B4T).
    pub sub_norms: bool,
}

/// Architecture of the twin that a ternary base is compared with: the blocks of `bitnet-b1.58`, sub-norms and squared ReLU
/// included, with plain linear layers. The name is this project's own; models/demo makes such files.
pub const FULL_PRECISION_TWIN: &str = "bitnet-fp";

/// Whether the linear layers of an architecture are ternary whatever a file's format says (BitNet b1.58, arXiv 2402.17764).
pub fn is_ternary_by_definition(arch: &str) -> bool {
    matches!(arch, "bitnet-b1.58" | "bitnet-25")
}

/// Nonlinearity of the feed-forward gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// max(x, 0)²: BitNet b1.58 2B4T (arXiv 2504.12285).
    SquaredRelu,
    /// x · σ(x): Llama, Qwen3.
    Silu,
    /// GELU with the tanh approximation: Gemma 3.
    GeluTanh,
}

/// Which elements of a head are rotated together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairs {
    /// (i, i + n/2): GPT-NeoX, Hugging Face.
    Halves,
    /// (2i, 2i + 1): the Llama paper; `llama` GGUF files have their query and key rows permuted for it.
    Neighbours,
}

/// Rotary position embedding (arXiv 2104.09864).
#[derive(Debug, Clone)]
pub struct Rope {
    /// Angle per position of each rotated pair.
    pub frequencies: Vec<f32>,
    /// Which elements make a pair.
    pub pairs: Pairs,
}

impl Rope {
    /// `theta^(−2i/dims) / (factor · divisors[i])` for the `dims / 2` pairs.
    fn new(theta: f32, dims: usize, factor: f32, divisors: Option<&[f32]>, pairs: Pairs) -> Self {
        let frequency = |i: usize| {
            let divisor = divisors.map_or(1.0, |d| f64::from(d[i]));
            (f64::from(theta).powf(-((2 * i) as f64) / dims as f64) / f64::from(factor) / divisor) as f32
        };
        Self { frequencies: (0..dims / 2).map(frequency).collect(), pairs }
    }
}

/// The most a file may declare for any width or count: far above every known base, and small
/// enough that products of two fit in 64 bits.
const LIMIT: u64 = 1 << 24;

/// Reads `{arch}.*` keys of one file.
struct Keys<'a> {
    file: &'a File,
    arch: &'a str,
}

impl Keys<'_> {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.arch)
    }

    fn size(&self, key: &str) -> Result<Option<usize>, Error> {
        let key = self.key(key);
        match self.file.u64(&key)? {
            Some(n) if n == 0 || n > LIMIT => {
                Err(self.file.key_error(&key, format!("is {n}, not within 1..={LIMIT}")).into())
            }
            n => Ok(n.map(|n| n as usize)),
        }
    }

    fn need(&self, key: &str) -> Result<usize, Error> {
        self.size(key)?.ok_or_else(|| self.file.key_error(&self.key(key), "is missing").into())
    }

    /// A positive number.
    fn positive(&self, key: &str) -> Result<Option<f32>, Error> {
        let key = self.key(key);
        match self.file.f32(&key)? {
            Some(x) if !x.is_finite() || x <= 0.0 => {
                Err(self.file.key_error(&key, format!("is {x}, not a finite positive number")).into())
            }
            x => Ok(x),
        }
    }

    /// A positive number, where 0 stands for "none" as it does in llama.cpp.
    fn positive_or_off(&self, key: &str) -> Result<Option<f32>, Error> {
        match self.file.f32(&self.key(key))? {
            Some(0.0) => Ok(None),
            _ => self.positive(key),
        }
    }

    fn unsupported(&self, what: impl Into<String>) -> Error {
        Error::Unsupported { file: self.file.name().into(), what: what.into() }
    }
}

impl Config {
    /// Reads and checks the metadata of a file.
    pub fn from_gguf(file: &File) -> Result<Config, Error> {
        let arch = file
            .str("general.architecture")?
            .ok_or_else(|| file.key_error("general.architecture", "is missing"))?
            .to_string();
        let keys = Keys { file, arch: &arch };
        let (activation, pairs) = match arch.as_str() {
            "bitnet-b1.58" | "bitnet-25" | FULL_PRECISION_TWIN => (Activation::SquaredRelu, Pairs::Halves),
            "llama" => (Activation::Silu, Pairs::Neighbours),
            "qwen3" => (Activation::Silu, Pairs::Halves),
            "gemma3" => (Activation::GeluTanh, Pairs::Halves),
            other => {
                return Err(keys.unsupported(format!(
                    "architecture `{other}` is not one of bitnet-b1.58, bitnet-25, {FULL_PRECISION_TWIN}, llama, qwen3, \
                     gemma3"
                )));
            }
        };
        let gemma = arch == "gemma3";
        let bit_linear = is_ternary_by_definition(&arch);

        if let Some(n) = file.u64(&keys.key("expert_count"))?.filter(|&n| n > 0) {
            return Err(keys.unsupported(format!("a mixture of {n} experts is not supported")));
        }
        if let Some(cap) = keys.positive_or_off("attn_logit_softcapping")? {
            return Err(keys.unsupported(format!("soft-capped attention ({cap}) is not supported")));
        }

        let dim = keys.need("embedding_length")?;
        let layers = keys.need("block_count")?;
        let heads = keys.need("attention.head_count")?;
        let kv_heads = keys.size("attention.head_count_kv")?.unwrap_or(heads);
        if !heads.is_multiple_of(kv_heads) {
            return Err(keys.unsupported(format!("{heads} heads do not share {kv_heads} key/value heads evenly")));
        }
        let head_dim = match keys.size("attention.key_length")? {
            Some(n) => n,
            None if dim.is_multiple_of(heads) => dim / heads,
            None => {
                return Err(keys.unsupported(format!("embedding length {dim} is not a multiple of {heads} heads")));
            }
        };
        if let Some(n) = keys.size("attention.value_length")?.filter(|&n| n != head_dim) {
            return Err(keys.unsupported(format!("values of width {n} beside keys of width {head_dim}")));
        }

        let embedding = file
            .tensor("token_embd.weight")
            .ok_or_else(|| Error::Gguf(file.tensor_error("token_embd.weight", "is missing")))?;
        let vocab = embedding.dims.get(1).copied().unwrap_or(0);
        if let Some(n) = keys.size("vocab_size")?.filter(|&n| n != vocab) {
            log::warn!(
                "{}: `{}` is {n}, but the embedding has {vocab} rows; using those",
                file.name(),
                keys.key("vocab_size")
            );
        }

        let rope_dims = keys.size("rope.dimension_count")?.unwrap_or(head_dim);
        if rope_dims > head_dim || rope_dims % 2 != 0 {
            return Err(keys.unsupported(format!("rotation of {rope_dims} of {head_dim} elements of a head")));
        }
        let theta = keys.positive("rope.freq_base")?.unwrap_or(10_000.0);
        let factor = rope_factor(&keys)?;
        let divisors = rope_divisors(file, rope_dims)?;
        let rope = Rope::new(theta, rope_dims, factor, divisors.as_deref(), pairs);

        let window = file.u64(&keys.key("attention.sliding_window"))?.filter(|&n| n > 0).map(|n| n.min(LIMIT) as usize);
        let windowed = windowed_layers(&keys, window, layers, if gemma { 6 } else { 0 })?;
        let window_rope = if gemma {
            // Gemma 3's local layers keep 10,000 and no scaling (arXiv 2503.19786, section 2.1); files may say otherwise.
            let theta = keys.positive("rope.freq_base_swa")?.unwrap_or(10_000.0);
            Rope::new(theta, rope_dims, 1.0, None, pairs)
        } else {
            rope.clone()
        };

        // Gemma 3 27B alone scales by dim / heads; its files do not say so.
        let scaled_width = if gemma && layers == 62 { dim as f32 / heads as f32 } else { head_dim as f32 };
        Ok(Config {
            name: file.str("general.name")?.map(str::to_string),
            vocab,
            context: keys.need("context_length")?,
            dim,
            layers,
            ffn: keys.need("feed_forward_length")?,
            heads,
            kv_heads,
            head_dim,
            norm_eps: keys
                .positive("attention.layer_norm_rms_epsilon")?
                .ok_or_else(|| file.key_error(&keys.key("attention.layer_norm_rms_epsilon"), "is missing"))?,
            activation,
            embedding_scale: if gemma { (dim as f32).sqrt() } else { 1.0 },
            attention_scale: keys.positive_or_off("attention.scale")?.unwrap_or_else(|| 1.0 / scaled_width.sqrt()),
            logit_cap: keys.positive_or_off("final_logit_softcapping")?,
            rope,
            window_rope,
            window,
            windowed,
            sub_norms: bit_linear || arch == FULL_PRECISION_TWIN,
            bit_linear,
            arch,
        })
    }

    /// Width of all query heads together.
    pub fn q_dim(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key (or value) heads together.
    pub fn kv_dim(&self) -> usize {
        self.kv_heads * self.head_dim
    }
}

/// What positions are divided by. Scaling that the engine does not know is an error.
fn rope_factor(keys: &Keys) -> Result<f32, Error> {
    let kind = keys.file.str(&keys.key("rope.scaling.type"))?;
    let factor = match keys.positive_or_off("rope.scaling.factor")? {
        Some(factor) => Some(factor),
        None => keys.positive_or_off("rope.scale_linear")?,
    };
    match (kind, factor) {
        (Some("none"), _) | (None, None) => Ok(1.0),
        (Some("linear") | None, Some(factor)) => Ok(factor),
        (kind, factor) => Err(keys.unsupported(format!(
            "rope scaling `{}` with factor {} is not supported (none, linear, and llama3 by `rope_freqs.weight` are)",
            kind.unwrap_or("linear"),
            factor.map_or("none".into(), |f| f.to_string())
        ))),
    }
}

/// Llama 3's frequency divisors, which its files carry as a tensor.
fn rope_divisors(file: &File, rope_dims: usize) -> Result<Option<Vec<f32>>, Error> {
    let Some(tensor) = file.tensor("rope_freqs.weight") else { return Ok(None) };
    if tensor.dims != [rope_dims / 2] {
        return Err(file.tensor_error(&tensor.name, format!("is {:?}, not [{}]", tensor.dims, rope_dims / 2)).into());
    }
    let mut divisors = vec![0.0; rope_dims / 2];
    crate::quant::dequantize(tensor.format, &file.bytes(tensor), &mut divisors);
    match divisors.iter().find(|d| !d.is_finite() || **d <= 0.0) {
        Some(d) => Err(file.tensor_error(&tensor.name, format!("has a divisor {d}")).into()),
        None => Ok(Some(divisors)),
    }
}

/// Which layers see only the window: as the file lists them, or all but every `period`-th; 0 stands for
/// "all" and 1 for "none", as in llama.cpp.
fn windowed_layers(keys: &Keys, window: Option<usize>, layers: usize, period: u64) -> Result<Vec<bool>, Error> {
    if window.is_none() {
        return Ok(vec![false; layers]);
    }
    let key = keys.key("attention.sliding_window_pattern");
    match keys.file.get(&key) {
        Some(Value::Array(Array::Bool(pattern))) if pattern.len() == layers => Ok(pattern.clone()),
        Some(Value::Array(_)) => Err(keys.file.key_error(&key, format!("is not an array of {layers} booleans")).into()),
        _ => {
            let period = keys.file.u64(&key)?.unwrap_or(period);
            Ok((0..layers as u64).map(|layer| period == 0 || layer % period < period - 1).collect())
        }
    }
}
