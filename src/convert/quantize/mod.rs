//! GGUF to smaller GGUF, with llama.cpp's choice of format per tensor.

mod mix;
mod rows;
mod ternary;

use crate::gguf::{self, File, Tensor, Writer};
use crate::quant::Format;
use std::num::NonZeroUsize;
use std::path::Path;

/// What to make of a file: formats that llama.cpp's tools know by these names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[allow(missing_docs, non_camel_case_types)]
#[clap(rename_all = "verbatim")]
pub enum Target {
    Q4_K_M,
    Q6_K,
    Q8_0,
    TQ1_0,
    TQ2_0,
    I2_S,
}

impl Target {
    /// The number that `general.file_type` holds: llama.cpp's `llama_ftype`, for `I2_S` bitnet.cpp's.
    fn file_type(self) -> u32 {
        match self {
            Target::Q8_0 => 7,
            Target::Q4_K_M => 15,
            Target::Q6_K => 18,
            Target::TQ1_0 => 36,
            Target::TQ2_0 => 37,
            Target::I2_S => 40,
        }
    }

    /// The format of most tensors.
    fn format(self) -> Format {
        match self {
            Target::Q4_K_M => Format::Q4_K,
            Target::Q6_K => Format::Q6_K,
            Target::Q8_0 => Format::Q8_0,
            Target::TQ1_0 => Format::TQ1_0,
            Target::TQ2_0 => Format::TQ2_0,
            Target::I2_S => Format::I2_S,
        }
    }

    /// Whether linear layers become ternary.
    pub fn is_ternary(self) -> bool {
        matches!(self, Target::TQ1_0 | Target::TQ2_0 | Target::I2_S)
    }
}

/// Format of the token embedding and of an output head of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[allow(missing_docs, non_camel_case_types)]
#[clap(rename_all = "verbatim")]
pub enum EmbedFormat {
    F16,
    Q8_0,
    Q6_K,
}

/// What a ternary target does with weights that are not ternary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ternarize {
    /// Refuse: a base that was not trained for it is garbage afterwards.
    #[default]
    Refuse,
    /// Round to −s, 0, s with s = mean|w| of the tensor (BitNet b1.58, arXiv 2402.17764).
    Absmean,
}

/// How to quantise.
#[derive(Debug, Clone)]
pub struct Options {
    /// Formats to use.
    pub target: Target,
    /// Another format for the embedding and the head than the target's choice.
    pub embed: Option<EmbedFormat>,
    /// For ternary targets.
    pub ternarize: Ternarize,
    /// Threads; the result does not depend on them.
    pub threads: NonZeroUsize,
}

/// Why a file could not be quantised.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input is no good or the output cannot be written.
    #[error(transparent)]
    Gguf(#[from] gguf::Error),
    /// The file as a whole cannot become this target.
    #[error("{file}: {what}")]
    File {
        /// The input.
        file: String,
        /// Why.
        what: String,
    },
}

/// How far the work is.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// The tensor that is next.
    pub tensor: &'a str,
    /// Values done.
    pub done: usize,
    /// Values in the file.
    pub total: usize,
}

/// What became of one tensor.
#[derive(Debug, Clone)]
pub struct Done {
    /// Its name.
    pub name: String,
    /// Format before.
    pub from: Format,
    /// Format now.
    pub to: Format,
    /// Bytes before.
    pub bytes_from: usize,
    /// Bytes now.
    pub bytes_to: usize,
    /// Why it is not what the target's rules ask for, where that is so.
    pub note: Option<String>,
}

/// Writes `file` in other formats to `to`, whole or not at all.
///
/// Metadata is copied but for `general.file_type` and `general.quantization_version`. One-dimensional tensors become F32.
///
/// # Errors
/// [`Error::Gguf`] names the tensor that has values which the target cannot hold.
pub fn quantize(
    file: &File,
    to: &Path,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<Done>, Error> {
    let choices = mix::choose(file, options)?;
    let mut writer = Writer::new(to);
    for (key, value) in file.metadata() {
        // The writer has its own alignment, and what it writes is one file whatever this one was split into.
        if key != "general.alignment" && !key.starts_with("split.") {
            writer.metadata(key, value.clone());
        }
    }
    writer.metadata("general.file_type", options.target.file_type());
    writer.metadata("general.quantization_version", 2u32);
    for (tensor, choice) in file.tensors().iter().zip(&choices) {
        writer.tensor(&tensor.name, &tensor.dims, choice.format);
    }

    let total = file.tensors().iter().map(Tensor::values).sum();
    let mut body = writer.begin()?;
    let (mut done, mut report) = (0, Vec::new());
    for (tensor, choice) in file.tensors().iter().zip(choices) {
        progress(Progress { tensor: &tensor.name, done, total });
        let (bytes, from) = (file.bytes(tensor), tensor.range().len());
        let bytes_to = if choice.format == tensor.format {
            body.write_tensor(&tensor.name, &bytes)?;
            from
        } else {
            let packed = match choice.format {
                Format::TQ1_0 | Format::TQ2_0 | Format::I2_S => ternary::pack(file, tensor, choice.format, options)?,
                format => rows::pack(file, tensor, format, options.threads)?,
            };
            body.write_tensor(&tensor.name, &packed)?;
            packed.len()
        };
        done += tensor.values();
        let (name, from_format) = (tensor.name.clone(), tensor.format);
        report.push(Done { name, from: from_format, to: choice.format, bytes_from: from, bytes_to, note: choice.note });
    }
    progress(Progress { tensor: "", done, total });
    body.finish()?;
    Ok(report)
}

#[cfg(test)]
mod tests;
