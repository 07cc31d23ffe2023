//! What config.json says the network is, and the same as GGUF keys.
//!
//! A setting that the engine does not honour is an error that names it: it would change the answers.

use super::Error;
use super::folder::Folder;
use crate::gguf::{Array, Value as Gguf};
use serde_json::{Map, Value};

/// Networks that can be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arch {
    BitNet,
    Llama,
    Qwen3,
    Gemma3,
}

impl Arch {
    /// The name in GGUF files.
    pub(super) fn name(self) -> &'static str {
        match self {
            Arch::BitNet => "bitnet-b1.58",
            Arch::Llama => "llama",
            Arch::Qwen3 => "qwen3",
            Arch::Gemma3 => "gemma3",
        }
    }
}

/// How the linear layers of the transformer are ternary (transformers' `integrations/bitnet.py`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ternary {
    /// Not at all.
    No,
    /// `bitlinear`: packed codes, outputs are divided by `weight_scale`.
    Divide,
    /// `autobitlinear`: packed codes, outputs are multiplied by `weight_scale`.
    Multiply,
    /// Master weights, quantised by their absolute mean while running.
    Online,
}

/// Rotary position embedding of the layers that see the whole sequence.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rope {
    pub(super) theta: f64,
    pub(super) scaling: Scaling,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scaling {
    None,
    /// Positions are divided by this.
    Linear(f64),
    /// Frequencies are divided by these, `[head_dim / 2]` (Llama 3.1).
    Llama3(Vec<f32>),
}

/// Gemma 3's windowed layers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Window {
    pub(super) size: u32,
    pub(super) theta: f64,
    /// Which layers are windowed, where that is not all but every sixth.
    pub(super) unusual: Option<Vec<bool>>,
}

/// config.json, read and checked.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) arch: Arch,
    pub(super) ternary: Ternary,
    pub(super) vocab: usize,
    pub(super) context: usize,
    pub(super) dim: usize,
    pub(super) layers: usize,
    pub(super) ffn: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    eps: f64,
    pub(super) rope: Rope,
    window: Option<Window>,
    /// Scale of attention where it is not 1/√head_dim.
    attention_scale: Option<f64>,
    logit_cap: Option<f64>,
    pub(super) tied: bool,
}

/// Keys of config.json (of its `text_config` first, where there is one).
struct Keys<'a> {
    folder: &'a Folder,
    text: Option<&'a Map<String, Value>>,
}

/// The most that any width or count may be: far above every known model.
const LIMIT: u64 = 1 << 24;

impl Keys<'_> {
    /// A key's value; `null` counts as missing.
    fn get(&self, key: &str) -> Option<&Value> {
        let text = self.text.and_then(|t| t.get(key));
        text.or_else(|| self.folder.config.get(key)).filter(|v| !v.is_null())
    }

    fn size(&self, key: &str) -> Result<Option<usize>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_u64().filter(|n| (1..=LIMIT).contains(n)) {
            // At most 2^24.
            Some(n) => Ok(Some(n as usize)),
            None => Err(self.folder.config_error(format!("`{key}` is {value}, not within 1..={LIMIT}"))),
        }
    }

    fn need(&self, key: &str, default: Option<usize>) -> Result<usize, Error> {
        self.size(key)?.or(default).ok_or_else(|| self.folder.config_error(format!("`{key}` is missing")))
    }

    fn float(&self, key: &str) -> Result<Option<f64>, Error> {
        self.get(key).map(|v| positive(self.folder, key, v)).transpose()
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, Error> {
        let error = |v: &Value| self.folder.config_error(format!("`{key}` is {v}, not true or false"));
        self.get(key).map(|v| v.as_bool().ok_or_else(|| error(v))).transpose()
    }

    /// Errors if `key` is there and true.
    fn refuse(&self, key: &str) -> Result<(), Error> {
        match self.flag(key)? {
            Some(true) => Err(self.folder.unsupported(format!("`{key}` is not supported"))),
            _ => Ok(()),
        }
    }
}

fn positive(folder: &Folder, key: &str, value: &Value) -> Result<f64, Error> {
    let number = value.as_f64().filter(|x| *x > 0.0 && (*x as f32).is_finite());
    number.ok_or_else(|| folder.config_error(format!("`{key}` is {value}, not a positive number")))
}

impl Settings {
    pub(super) fn read(folder: &Folder) -> Result<Settings, Error> {
        let arch = arch(folder)?;
        let keys = Keys { folder, text: folder.config.get("text_config").and_then(Value::as_object) };
        let gemma = arch == Arch::Gemma3;
        // What transformers assumes where Gemma's config.json is silent, as that of the 4B is.
        let or = |default: usize| gemma.then_some(default);

        for key in ["attention_bias", "mlp_bias", "use_sliding_window", "use_bidirectional_attention"] {
            keys.refuse(key)?;
        }
        if let Some(cap) = keys.float("attn_logit_softcapping")? {
            return Err(folder.unsupported(format!("`attn_logit_softcapping` ({cap}) is not supported")));
        }
        activation(&keys, arch)?;

        let dim = keys.need("hidden_size", or(2304))?;
        let heads = keys.need("num_attention_heads", or(8))?;
        let kv_heads = keys.need("num_key_value_heads", if gemma { Some(4) } else { Some(heads) })?;
        if !heads.is_multiple_of(kv_heads) {
            return Err(folder.config_error(format!("{heads} heads do not share {kv_heads} key/value heads evenly")));
        }
        let given = keys.size("head_dim")?.or(match arch {
            Arch::Gemma3 => Some(256),
            Arch::Qwen3 => Some(128),
            Arch::Llama | Arch::BitNet => None,
        });
        let head_dim = match given {
            Some(head_dim) => head_dim,
            None if dim.is_multiple_of(heads) => dim / heads,
            None => return Err(folder.config_error(format!("`hidden_size` {dim} is not a multiple of {heads} heads"))),
        };
        if head_dim % 2 != 0 {
            return Err(folder.unsupported(format!("heads of the odd width {head_dim} cannot be rotated")));
        }
        let layers = keys.need("num_hidden_layers", or(26))?;
        let rope = rope(&keys, arch, head_dim)?;
        let window = if gemma { window(&keys, layers)? } else { None };
        // The engine and llama.cpp know by the number of layers that Gemma 3 27B scales by dim / heads.
        let usual = if gemma && layers == 62 { dim / heads } else { head_dim };
        let scalar = if gemma { keys.float("query_pre_attn_scalar")?.unwrap_or(256.0) } else { head_dim as f64 };

        Ok(Settings {
            arch,
            ternary: ternary(&keys, arch)?,
            vocab: keys.need("vocab_size", or(262_208))?,
            context: keys.need("max_position_embeddings", or(131_072))?,
            dim,
            layers,
            ffn: keys.need("intermediate_size", or(9216))?,
            heads,
            kv_heads,
            head_dim,
            eps: match keys.float("rms_norm_eps")? {
                Some(eps) => eps,
                None if arch == Arch::BitNet => 1e-5,
                None => 1e-6,
            },
            rope,
            window,
            attention_scale: (scalar != usual as f64).then(|| 1.0 / scalar.sqrt()),
            logit_cap: keys.float("final_logit_softcapping")?,
            tied: keys.flag("tie_word_embeddings")?.unwrap_or(gemma),
        })
    }

    /// The keys that llama.cpp's converter writes, in its order.
    pub(super) fn metadata(&self) -> Vec<(String, Gguf)> {
        let mut metadata = Vec::new();
        let mut put = |key: &str, value: Gguf| metadata.push((format!("{}.{key}", self.arch.name()), value));
        // Sizes are at most 2^24.
        let size = |n: usize| Gguf::U32(n as u32);
        let float = |x: f64| Gguf::F32(x as f32);
        if matches!(self.arch, Arch::BitNet | Arch::Llama) {
            put("vocab_size", size(self.vocab));
        }
        put("block_count", size(self.layers));
        put("context_length", size(self.context));
        put("embedding_length", size(self.dim));
        put("feed_forward_length", size(self.ffn));
        put("attention.head_count", size(self.heads));
        put("attention.head_count_kv", size(self.kv_heads));
        if let Scaling::Linear(factor) = self.rope.scaling {
            put("rope.scaling.type", Gguf::String("linear".into()));
            put("rope.scaling.factor", float(factor));
        }
        put("rope.freq_base", float(self.rope.theta));
        if let Some(window) = &self.window {
            put("rope.freq_base_swa", float(window.theta));
        }
        put("attention.layer_norm_rms_epsilon", float(self.eps));
        if self.arch != Arch::BitNet {
            put("attention.key_length", size(self.head_dim));
            put("attention.value_length", size(self.head_dim));
        }
        if matches!(self.arch, Arch::BitNet | Arch::Llama) {
            put("rope.dimension_count", size(self.head_dim));
        }
        if let Some(window) = &self.window {
            put("attention.sliding_window", Gguf::U32(window.size));
            if let Some(pattern) = &window.unusual {
                put("attention.sliding_window_pattern", Gguf::Array(Array::Bool(pattern.clone())));
            }
        }
        if let Some(scale) = self.attention_scale {
            put("attention.scale", float(scale));
        }
        if let Some(cap) = self.logit_cap {
            put("final_logit_softcapping", float(cap));
        }
        metadata
    }
}

fn arch(folder: &Folder) -> Result<Arch, Error> {
    let Some(name) = folder.config.get("architectures").and_then(|a| a.get(0)).and_then(Value::as_str) else {
        return Err(folder.config_error("`architectures` names no network"));
    };
    match name {
        "BitNetForCausalLM" => Ok(Arch::BitNet),
        "LlamaForCausalLM" => Ok(Arch::Llama),
        "Qwen3ForCausalLM" => Ok(Arch::Qwen3),
        "Gemma3ForCausalLM" | "Gemma3ForConditionalGeneration" => Ok(Arch::Gemma3),
        other => Err(folder.unsupported(format!(
            "architecture `{other}` is not one of BitNetForCausalLM, LlamaForCausalLM, Qwen3ForCausalLM, Gemma3ForCausalLM, \
             Gemma3ForConditionalGeneration"
        ))),
    }
}

fn activation(keys: &Keys, arch: Arch) -> Result<(), Error> {
    let (key, wanted) = match arch {
        Arch::BitNet => ("hidden_act", "relu2"),
        Arch::Llama | Arch::Qwen3 => ("hidden_act", "silu"),
        Arch::Gemma3 => ("hidden_activation", "gelu_pytorch_tanh"),
    };
    match keys.get(key) {
        Some(value) if value != wanted => {
            Err(keys.folder.unsupported(format!("`{key}` is {value}; `{}` networks use \"{wanted}\"", arch.name())))
        }
        _ => Ok(()),
    }
}

fn ternary(keys: &Keys, arch: Arch) -> Result<Ternary, Error> {
    let folder = keys.folder;
    let Some(config) = keys.get("quantization_config") else {
        if arch == Arch::BitNet {
            log::warn!(
                "{}: no `quantization_config`; the weights are taken as BitNet master weights",
                folder.path.display()
            );
            return Ok(Ternary::Online);
        }
        return Ok(Ternary::No);
    };
    let text = |key: &str, default: &str| match config.get(key) {
        None | Some(Value::Null) => default.to_string(),
        Some(Value::String(s)) => s.clone(),
        Some(other) => other.to_string(),
    };
    let method = text("quant_method", "none");
    if method != "bitnet" {
        return Err(folder.unsupported(format!("quantization `{method}` is not supported; only `bitnet` is")));
    }
    if config.get("use_rms_norm") == Some(&Value::Bool(true)) {
        return Err(folder.unsupported("`use_rms_norm` (a norm before every linear layer) is not supported"));
    }
    match (text("linear_class", "bitlinear").as_str(), text("quantization_mode", "offline").as_str()) {
        ("bitlinear", "offline") => Ok(Ternary::Divide),
        ("autobitlinear", "offline") => Ok(Ternary::Multiply),
        ("autobitlinear", "online") => Ok(Ternary::Online),
        (class, mode) => {
            Err(folder.unsupported(format!("linear class `{class}` with quantization mode `{mode}` is not supported")))
        }
    }
}

/// Rope settings in both ways of writing them: `rope_parameters` (transformers 5), or `rope_theta` and `rope_scaling`.
fn rope(keys: &Keys, arch: Arch, head_dim: usize) -> Result<Rope, Error> {
    let folder = keys.folder;
    let whole = match keys.get("rope_parameters") {
        Some(parameters) => parameters.get("full_attention").or(Some(parameters)),
        None => keys.get("rope_scaling"),
    };
    let inner = |key: &str| whole.and_then(|w| w.get(key)).filter(|v| !v.is_null());
    let theta = match inner("rope_theta").or_else(|| keys.get("rope_theta")) {
        Some(value) => positive(folder, "rope_theta", value)?,
        None => match arch {
            Arch::BitNet => 500_000.0,
            Arch::Gemma3 => 1_000_000.0,
            Arch::Llama | Arch::Qwen3 => 10_000.0,
        },
    };
    let part = inner("partial_rotary_factor").or_else(|| keys.get("partial_rotary_factor"));
    if let Some(part) = part.filter(|part| part.as_f64() != Some(1.0)) {
        return Err(folder.unsupported(format!("`partial_rotary_factor` {part} is not supported")));
    }
    let number = |key: &str| match inner(key) {
        Some(value) => positive(folder, key, value),
        None => Err(folder.config_error(format!("rope scaling has no `{key}`"))),
    };
    let kind = inner("rope_type").or_else(|| inner("type")).map_or(Some("default"), Value::as_str);
    let scaling = match kind {
        Some("default") => Scaling::None,
        Some("linear") => Scaling::Linear(number("factor")?),
        Some("llama3") if arch == Arch::Llama => Scaling::Llama3(llama3_divisors(
            theta,
            head_dim,
            number("factor")?,
            number("low_freq_factor")?,
            number("high_freq_factor")?,
            number("original_max_position_embeddings")?,
        )),
        kind => {
            let kind = kind.unwrap_or("(not a name)");
            return Err(folder.unsupported(format!("rope type `{kind}` is not supported for `{}`", arch.name())));
        }
    };
    Ok(Rope { theta, scaling })
}

/// What Llama 3.1 divides each frequency by: nothing where a turn is short, `factor` where it is longer
/// than the old context, and a blend between (transformers' `modeling_rope_utils.py`).
fn llama3_divisors(theta: f64, head_dim: usize, factor: f64, low: f64, high: f64, old_context: f64) -> Vec<f32> {
    let divisor = |i: usize| {
        let wavelength = 2.0 * std::f64::consts::PI * theta.powf((2 * i) as f64 / head_dim as f64);
        if wavelength < old_context / high {
            1.0
        } else if wavelength > old_context / low {
            factor
        } else {
            let smooth = (old_context / wavelength - low) / (high - low);
            1.0 / ((1.0 - smooth) / factor + smooth)
        }
    };
    (0..head_dim / 2).map(|i| divisor(i) as f32).collect()
}

/// Gemma 3's window: which layers have it, how wide it is, and their own rope base.
fn window(keys: &Keys, layers: usize) -> Result<Option<Window>, Error> {
    let folder = keys.folder;
    const USUAL_PERIOD: usize = 6;
    let every = |period: usize| (0..layers).map(|layer| (layer + 1) % period != 0).collect::<Vec<bool>>();
    let windowed = match keys.get("layer_types") {
        Some(types) => {
            let windowed: Option<Vec<bool>> = types.as_array().and_then(|types| {
                let windowed = |t: &Value| match t.as_str() {
                    Some("sliding_attention") => Some(true),
                    Some("full_attention") => Some(false),
                    _ => None,
                };
                types.iter().map(windowed).collect()
            });
            windowed.filter(|w| w.len() == layers).ok_or_else(|| {
                folder.config_error(format!(
                    "`layer_types` is not a list of {layers} `sliding_attention` or `full_attention`"
                ))
            })?
        }
        None => every(keys.size("sliding_window_pattern")?.unwrap_or(USUAL_PERIOD)),
    };
    if !windowed.contains(&true) {
        return Ok(None);
    }
    let sliding = keys.get("rope_parameters").and_then(|p| p.get("sliding_attention"));
    if let Some(kind) = sliding.and_then(|s| s.get("rope_type")).filter(|k| *k != "default") {
        return Err(folder.unsupported(format!("rope type {kind} of windowed layers is not supported")));
    }
    let theta = match sliding.and_then(|s| s.get("rope_theta")).or_else(|| keys.get("rope_local_base_freq")) {
        Some(value) => positive(folder, "rope_local_base_freq", value)?,
        None => 10_000.0,
    };
    Ok(Some(Window {
        // Sizes are at most 2^24.
        size: keys.need("sliding_window", Some(4096))? as u32,
        theta,
        unusual: (windowed != every(USUAL_PERIOD)).then_some(windowed),
    }))
}
