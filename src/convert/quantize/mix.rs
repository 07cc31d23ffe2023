//! Which tensor gets which format.
//!
//! For `Q4_K_M`, `Q6_K` and `Q8_0` the rules are llama.cpp's (src/llama-quant.cpp) for dense models: `Q4_K_M` spends `Q6_K` on the
//! head, and on `attn_v` and `ffn_down` of the first and last eighth of the layers and of every third between.

use super::{EmbedFormat, Error, Options, Target};
use crate::gguf::{File, Tensor};
use crate::model::is_ternary_by_definition;
use crate::quant::Format;

/// The format of a tensor, and why if a row length forbade the one that the rules ask for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    pub(super) format: Format,
    pub(super) note: Option<String>,
}

/// What a tensor is for, as far as the rules tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Norms, biases, rope factors, routers: never quantised.
    Small,
    Embedding,
    Head,
    AttentionV,
    FeedForwardDown,
    Linear,
}

fn role(tensor: &Tensor) -> Role {
    let name = tensor.name.as_str();
    match name {
        _ if tensor.dims.len() < 2 || !name.ends_with("weight") => Role::Small,
        _ if name.contains("_norm.weight") || name.contains("ffn_gate_inp.weight") => Role::Small,
        "token_embd.weight" => Role::Embedding,
        "output.weight" => Role::Head,
        _ if name.contains("attn_v.weight") => Role::AttentionV,
        _ if name.contains("ffn_down") => Role::FeedForwardDown,
        _ => Role::Linear,
    }
}

/// One choice per tensor, in the file's order.
pub(super) fn choose(file: &File, options: &Options) -> Result<Vec<Choice>, Error> {
    let arch = file.str("general.architecture")?.unwrap_or_default();
    let number = |key: &str| file.u64(&format!("{arch}.{key}"));
    let layers = usize::try_from(number("block_count")?.unwrap_or(0)).unwrap_or(usize::MAX);
    let error = |what: String| Error::File { file: file.name().to_owned(), what };
    if number("expert_count")?.is_some_and(|n| n > 0) {
        return Err(error("mixtures of experts are not supported".into()));
    }
    if is_ternary_by_definition(arch) && !options.target.is_ternary() {
        return Err(error(format!(
            "the linear layers of `{arch}` are ternary: TQ1_0, TQ2_0 and I2_S hold them, nothing else"
        )));
    }
    if file.tensors().is_empty() {
        return Err(error("there are no tensors to quantise, only a vocabulary".into()));
    }
    // llama.cpp gives attn_v of 80-layer models, which eight heads share, one more bit.
    let wide_v = layers == 80 && matches!(arch, "llama" | "qwen2");
    let tied = file.tensor("output.weight").is_none();
    let attention = file.tensors().iter().filter(|t| role(t) == Role::AttentionV).count();
    file.tensors()
        .iter()
        .map(|tensor| {
            let wanted = match (role(tensor), options.target) {
                (Role::Small, _) => {
                    // Matrices that are no weights stay as they are.
                    let format = if tensor.dims.len() == 1 { Format::F32 } else { tensor.format };
                    return Ok(Choice { format, note: None });
                }
                (Role::Embedding | Role::Head, _) if options.embed.is_some() => embed(options.embed),
                (Role::Embedding | Role::Head, target) if target.is_ternary() => kept_or_f16(tensor.format),
                (Role::Head, target) => head(target, tensor),
                (Role::Embedding, target) if tied => head(target, tensor),
                (Role::AttentionV, Target::Q4_K_M) => match more_bits(rank(file, tensor), attention) {
                    true => Format::Q6_K,
                    false if wide_v => Format::Q5_K,
                    false => Format::Q4_K,
                },
                (Role::FeedForwardDown, Target::Q4_K_M) if more_bits(rank(file, tensor), layers) => Format::Q6_K,
                (_, target) => target.format(),
            };
            fit(file, tensor, wanted)
        })
        .collect()
}

fn embed(format: Option<EmbedFormat>) -> Format {
    match format {
        None | Some(EmbedFormat::F16) => Format::F16,
        Some(EmbedFormat::Q8_0) => Format::Q8_0,
        Some(EmbedFormat::Q6_K) => Format::Q6_K,
    }
}

/// What an embedding beside ternary weights becomes: nothing larger than it is.
fn kept_or_f16(format: Format) -> Format {
    if matches!(format, Format::F32 | Format::BF16) { Format::F16 } else { format }
}

/// The head, or the embedding that serves as one. llama.cpp looks at the target's block here, and
/// takes `Q8_0` where that does not fit.
fn head(target: Target, tensor: &Tensor) -> Format {
    let fits = tensor.dims[0].is_multiple_of(target.format().block_len());
    if fits && target != Target::Q8_0 { Format::Q6_K } else { Format::Q8_0 }
}

/// llama.cpp's `use_more_bits`: layer `i` of `n`.
fn more_bits(i: usize, n: usize) -> bool {
    i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2
}

/// How many tensors of the same role are in layers before this one's.
fn rank(file: &File, tensor: &Tensor) -> usize {
    let role_of_this = role(tensor);
    let before = |t: &&Tensor| role(t) == role_of_this && layer(&t.name) < layer(&tensor.name);
    file.tensors().iter().filter(before).count()
}

fn layer(name: &str) -> Option<usize> {
    name.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

/// The wanted format, or the nearest larger one whose blocks fit the rows.
fn fit(file: &File, tensor: &Tensor, wanted: Format) -> Result<Choice, Error> {
    let cols = tensor.dims[0];
    if cols.is_multiple_of(wanted.block_len()) {
        return Ok(Choice { format: wanted, note: None });
    }
    let why = format!("rows of {cols} values are not whole blocks of {}", wanted.block_len());
    if matches!(wanted, Format::TQ1_0 | Format::TQ2_0 | Format::I2_S) {
        // Any other format would change what the linear layer computes: its input would no longer be int8.
        return Err(file.tensor_error(&tensor.name, format!("cannot be {}: {why}", wanted.name())).into());
    }
    // llama.cpp would take Q5_0 for Q4_K and Q5_1 for Q5_K; Q8_0 is the next format we have.
    let format = if cols.is_multiple_of(Format::Q8_0.block_len()) { Format::Q8_0 } else { Format::F16 };
    Ok(Choice { format, note: Some(format!("{} and not {}: {why}", format.name(), wanted.name())) })
}
