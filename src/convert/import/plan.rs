//! Which tensor of the folder becomes which tensor of the GGUF file, and what is done with it on the way.

use super::folder::{Folder, Source};
use super::settings::{Arch, Scaling, Settings, Ternary};
use super::{Error, Floats};
use crate::quant::Format;
use half::{bf16, f16};
use safetensors::Dtype;
use std::collections::HashSet;

/// A tensor to be written.
#[derive(Debug)]
pub(super) struct Planned {
    /// Name in the GGUF file.
    pub(super) name: String,
    /// Shape, fastest-varying first.
    pub(super) dims: Vec<usize>,
    pub(super) format: Format,
    pub(super) origin: Origin,
}

/// Where a tensor's values come from.
#[derive(Debug)]
pub(super) enum Origin {
    /// Made from the settings.
    Given(Vec<f32>),
    /// Floats of the folder.
    Floats {
        source: Source,
        rows: RowOrder,
        /// Added to each value: Gemma's norms are stored less one.
        plus: f32,
    },
    /// 2-bit codes, packed along the rows, with one scale.
    Packed { source: Source, rows: RowOrder, scale: f32 },
    /// Codes −1, 0, 1 stored as floats, with one scale.
    Codes { source: Source, rows: RowOrder, scale: f32 },
    /// Master weights, to be made ternary by their absolute mean.
    Masters { source: Source, rows: RowOrder },
}

/// In which order rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowOrder {
    Same,
    /// Query and key rows for rotation in neighbouring pairs (2i, 2i + 1), as `llama` files have
    /// them, from the halves (i, i + n/2) of transformers.
    Neighbours {
        /// Rows of one head.
        head_dim: usize,
    },
}

impl RowOrder {
    /// Which row of the source becomes row `row`.
    pub(super) fn source(self, row: usize) -> usize {
        match self {
            RowOrder::Same => row,
            RowOrder::Neighbours { head_dim } => {
                let (head, i) = (row / head_dim, row % head_dim);
                head * head_dim + i % 2 * (head_dim / 2) + i / 2
            }
        }
    }
}

impl Planned {
    /// Bytes in the file.
    pub(super) fn bytes(&self) -> usize {
        // Formats were chosen to fit the shape.
        self.format.tensor_bytes(self.dims.iter().product()).unwrap_or(0)
    }
}

/// All tensors of the file, in their order. Every tensor of the folder must have its place.
pub(super) fn plan(folder: &Folder, settings: &Settings, floats: Floats) -> Result<Vec<Planned>, Error> {
    let mut planner = Planner { folder, settings, floats, prefix: prefix(folder), used: HashSet::new() };
    let mut tensors = planner.tables()?;
    for layer in 0..settings.layers {
        tensors.extend(planner.layer(layer)?);
    }
    tensors.push(planner.norm("output_norm.weight", "norm.weight", settings.dim)?);
    planner.check_all_used()?;
    Ok(tensors)
}

/// What comes before `layers.0.…`: multimodal folders keep the language model in a part of their own.
fn prefix(folder: &Folder) -> &'static str {
    let candidates = ["model.", "language_model.model.", "model.language_model."];
    let has = |prefix: &&str| folder.tensor(&format!("{prefix}embed_tokens.weight")).is_some();
    candidates.into_iter().find(has).unwrap_or(candidates[0])
}

struct Planner<'a> {
    folder: &'a Folder,
    settings: &'a Settings,
    floats: Floats,
    prefix: &'static str,
    used: HashSet<String>,
}

impl Planner<'_> {
    fn tables(&mut self) -> Result<Vec<Planned>, Error> {
        let s = self.settings;
        let mut tensors = Vec::new();
        if let Scaling::Llama3(divisors) = &s.rope.scaling {
            tensors.push(Planned {
                name: "rope_freqs.weight".into(),
                dims: vec![divisors.len()],
                format: Format::F32,
                origin: Origin::Given(divisors.clone()),
            });
        }
        let embedding = self.find(&format!("{}embed_tokens.weight", self.prefix), &[s.vocab, s.dim])?;
        tensors.push(self.matrix("token_embd.weight", embedding, RowOrder::Same)?);
        let heads = ["lm_head.weight", "language_model.lm_head.weight"];
        let head = heads.into_iter().find(|name| self.folder.tensor(name).is_some());
        match head {
            // transformers never reads a stored head of a tied model.
            Some(name) if s.tied => drop(self.used.insert(name.into())),
            None if s.tied => {}
            head => {
                let head = self.find(head.unwrap_or(heads[0]), &[s.vocab, s.dim])?;
                tensors.push(self.matrix("output.weight", head, RowOrder::Same)?);
            }
        }
        Ok(tensors)
    }

    fn layer(&mut self, layer: usize) -> Result<Vec<Planned>, Error> {
        let s = self.settings;
        let (q, kv) = (s.heads * s.head_dim, s.kv_heads * s.head_dim);
        let rotated = match s.arch {
            Arch::Llama => RowOrder::Neighbours { head_dim: s.head_dim },
            Arch::BitNet | Arch::Qwen3 | Arch::Gemma3 => RowOrder::Same,
        };
        let to = |part: &str| format!("blk.{layer}.{part}.weight");
        let from = |part: &str| format!("layers.{layer}.{part}.weight");
        let mut tensors = Vec::new();
        let norms: &[(&str, &str, usize)] = match s.arch {
            Arch::Llama => &[("attn_norm", "input_layernorm", s.dim), ("ffn_norm", "post_attention_layernorm", s.dim)],
            Arch::BitNet => &[
                ("attn_norm", "input_layernorm", s.dim),
                ("attn_sub_norm", "self_attn.attn_sub_norm", q),
                ("ffn_norm", "post_attention_layernorm", s.dim),
                ("ffn_sub_norm", "mlp.ffn_sub_norm", s.ffn),
            ],
            Arch::Qwen3 => &[
                ("attn_norm", "input_layernorm", s.dim),
                ("attn_q_norm", "self_attn.q_norm", s.head_dim),
                ("attn_k_norm", "self_attn.k_norm", s.head_dim),
                ("ffn_norm", "post_attention_layernorm", s.dim),
            ],
            Arch::Gemma3 => &[
                ("attn_norm", "input_layernorm", s.dim),
                ("attn_q_norm", "self_attn.q_norm", s.head_dim),
                ("attn_k_norm", "self_attn.k_norm", s.head_dim),
                ("post_attention_norm", "post_attention_layernorm", s.dim),
                ("ffn_norm", "pre_feedforward_layernorm", s.dim),
                ("post_ffw_norm", "post_feedforward_layernorm", s.dim),
            ],
        };
        for (name, source, len) in norms {
            tensors.push(self.norm(&to(name), &from(source), *len)?);
        }
        for (name, source, rows, cols, order) in [
            ("attn_q", "self_attn.q_proj", q, s.dim, rotated),
            ("attn_k", "self_attn.k_proj", kv, s.dim, rotated),
            ("attn_v", "self_attn.v_proj", kv, s.dim, RowOrder::Same),
            ("attn_output", "self_attn.o_proj", s.dim, q, RowOrder::Same),
            ("ffn_gate", "mlp.gate_proj", s.ffn, s.dim, RowOrder::Same),
            ("ffn_up", "mlp.up_proj", s.ffn, s.dim, RowOrder::Same),
            ("ffn_down", "mlp.down_proj", s.dim, s.ffn, RowOrder::Same),
        ] {
            tensors.push(self.linear(&to(name), &from(source), [rows, cols], order)?);
        }
        Ok(tensors)
    }

    /// Takes a tensor whose shape must be `shape`.
    fn find(&mut self, name: &str, shape: &[usize]) -> Result<Source, Error> {
        let source = self.any(name)?;
        if source.shape != shape {
            return Err(source.error(format!("has the shape {:?}, not {shape:?}", source.shape)));
        }
        Ok(source)
    }

    fn any(&mut self, name: &str) -> Result<Source, Error> {
        let missing =
            || Error::Tensor { path: self.folder.path.clone(), tensor: name.into(), what: "is missing".into() };
        let source = self.folder.tensor(name).ok_or_else(missing)?.clone();
        self.used.insert(name.into());
        Ok(source)
    }

    fn norm(&mut self, name: &str, source: &str, len: usize) -> Result<Planned, Error> {
        let source = self.find(&format!("{}{source}", self.prefix), &[len])?;
        float_format(&source)?;
        let plus = if self.settings.arch == Arch::Gemma3 { 1.0 } else { 0.0 };
        let origin = Origin::Floats { source, rows: RowOrder::Same, plus };
        Ok(Planned { name: name.into(), dims: vec![len], format: Format::F32, origin })
    }

    /// A matrix of floats that is not ternary.
    fn matrix(&self, name: &str, source: Source, rows: RowOrder) -> Result<Planned, Error> {
        let format = match self.floats {
            Floats::Auto => float_format(&source)?,
            Floats::F32 => Format::F32,
            Floats::F16 => Format::F16,
            Floats::Bf16 => Format::BF16,
        };
        float_format(&source)?;
        let dims = vec![source.shape[1], source.shape[0]];
        Ok(Planned { name: name.into(), dims, format, origin: Origin::Floats { source, rows, plus: 0.0 } })
    }

    /// A linear layer of the transformer, ternary or not.
    fn linear(&mut self, name: &str, source: &str, shape: [usize; 2], rows: RowOrder) -> Result<Planned, Error> {
        let source_name = format!("{}{source}", self.prefix);
        match self.settings.ternary {
            Ternary::No => {
                let source = self.find(&source_name, &shape)?;
                self.matrix(name, source, rows)
            }
            Ternary::Online => {
                let source = self.find(&source_name, &shape)?;
                float_format(&source)?;
                let format = self.ternary_format(&source, shape[1], None)?;
                let dims = vec![shape[1], shape[0]];
                Ok(Planned { name: name.into(), dims, format, origin: Origin::Masters { source, rows } })
            }
            Ternary::Divide | Ternary::Multiply => self.offline(name, &source_name, shape, rows),
        }
    }

    /// A ternary layer with codes and a scale.
    fn offline(&mut self, name: &str, source_name: &str, shape: [usize; 2], rows: RowOrder) -> Result<Planned, Error> {
        let scale_source = self.any(&format!("{source_name}_scale"))?;
        let stored = super::values::scalar(&scale_source)?;
        let scale = if self.settings.ternary == Ternary::Divide { 1.0 / stored } else { stored };
        if !(scale.is_finite() && scale > 0.0) {
            return Err(scale_source.error(format!("is {stored}, not a positive scale")));
        }
        let source = self.any(source_name)?;
        let packed = source.dtype == Dtype::U8;
        let expected = if packed { [shape[0].div_ceil(4), shape[1]] } else { shape };
        if source.shape != expected || (packed && !shape[0].is_multiple_of(4)) {
            return Err(source.error(format!("has the shape {:?}; {expected:?} holds {shape:?}", source.shape)));
        }
        let format = self.ternary_format(&source, shape[1], Some(scale))?;
        let origin = if packed {
            Origin::Packed { source, rows, scale }
        } else {
            float_format(&source)?;
            Origin::Codes { source, rows, scale }
        };
        Ok(Planned { name: name.into(), dims: vec![shape[1], shape[0]], format, origin })
    }

    /// `I2_S` where rows are whole blocks. Else floats that hold code × scale exactly, if the
    /// architecture says that the layers are ternary whatever their format.
    fn ternary_format(&self, source: &Source, cols: usize, scale: Option<f32>) -> Result<Format, Error> {
        if cols.is_multiple_of(Format::I2_S.block_len()) {
            return Ok(Format::I2_S);
        }
        if self.settings.arch != Arch::BitNet {
            return Err(source.error(format!(
                "has ternary rows of {cols}; only multiples of {} can be stored as ternary for `{}`",
                Format::I2_S.block_len(),
                self.settings.arch.name()
            )));
        }
        Ok(match scale {
            Some(s) if bf16::from_f32(s).to_f32() == s => Format::BF16,
            Some(s) if f16::from_f32(s).to_f32() == s => Format::F16,
            _ => Format::F32,
        })
    }

    /// A tensor without a place in the network would silently change the answers.
    fn check_all_used(&self) -> Result<(), Error> {
        let beside = |name: &str| {
            name.ends_with(".rotary_emb.inv_freq")
                || ["vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector."]
                    .iter()
                    .any(|part| name.starts_with(part))
        };
        match self.folder.names().find(|name| !self.used.contains(*name) && !beside(name)) {
            None => Ok(()),
            Some(name) => Err(Error::Tensor {
                path: self.folder.tensor(name).map_or(self.folder.path.clone(), |t| t.path.clone()),
                tensor: name.into(),
                what: format!("has no place in a `{}` network", self.settings.arch.name()),
            }),
        }
    }
}

/// The format that holds the source's values as they are.
fn float_format(source: &Source) -> Result<Format, Error> {
    match source.dtype {
        Dtype::F32 => Ok(Format::F32),
        Dtype::F16 => Ok(Format::F16),
        Dtype::BF16 => Ok(Format::BF16),
        other => Err(source.error(format!("has the data type {other}; F32, F16 and BF16 are read"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `LlamaModel.permute` of llama.cpp's converter on `arange(16)` with two heads.
    #[test]
    fn rotated_rows_become_neighbours() {
        let order = RowOrder::Neighbours { head_dim: 8 };
        let rows: Vec<usize> = (0..16).map(|row| order.source(row)).collect();
        assert_eq!(rows, [0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15]);
    }
}
