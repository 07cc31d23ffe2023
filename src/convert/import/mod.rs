//! Hugging Face safetensors folders to GGUF.
//!
//! Names, keys and the order of rows are those of llama.cpp's converter, so that the files work in both
//! programs. What it cannot say is told here: ternary layers become `I2_S` (microsoft/BitNet's format).
//!
//! 1. `folder` opens config.json, the tokenizer's files and the mapped tensors;
//! 2. `settings` reads config.json: what the network is, or why it cannot be imported;
//! 3. `plan` gives each GGUF tensor its source and what is to be done with it;
//! 4. `values` does it, tensor by tensor, while the file is written.

mod folder;
mod plan;
mod settings;
mod values;

use crate::gguf::{self, Value, Writer};
use crate::quant::Format;
use crate::text::{self, Tokenizer};
use folder::Folder;
use plan::{Planned, plan};
use settings::Settings;
use std::path::{Path, PathBuf};

/// Why a folder cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A JSON file is not JSON, or a key is missing or not what it should be.
    #[error("{path}: {what}", path = path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong, naming the key.
        what: String,
    },
    /// A safetensors file's header is wrong.
    #[error("{path}: not a valid safetensors file: {source}", path = path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// Why.
        source: safetensors::SafeTensorError,
    },
    /// A tensor is missing, or its shape, data type or values are not what they should be.
    #[error("{path}: tensor `{tensor}` {what}", path = path.display())]
    Tensor {
        /// The safetensors file, or the folder if the tensor is in none.
        path: PathBuf,
        /// The tensor's Hugging Face name.
        tensor: String,
        /// What is wrong.
        what: String,
    },
    /// The folder holds something else than this engine can run.
    #[error("{path}: {what}", path = path.display())]
    Unsupported {
        /// The folder or file.
        path: PathBuf,
        /// What it is.
        what: String,
    },
    /// The tokenizer cannot be read.
    #[error(transparent)]
    Tokenizer(#[from] text::Error),
    /// The GGUF file cannot be written.
    #[error(transparent)]
    Gguf(#[from] gguf::Error),
}

/// How the matrices that are not ternary are stored. Norms are always F32, as llama.cpp needs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Floats {
    /// As the folder has them.
    #[default]
    Auto,
    /// Single precision.
    F32,
    /// IEEE half precision; a value that does not fit is an error.
    F16,
    /// The upper half of single precision, rounded to nearest even.
    Bf16,
}

/// What to import a folder as.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Format of the matrices that are not ternary.
    pub floats: Floats,
    /// `general.name`; the folder's name if `None`.
    pub name: Option<String>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Report {
    /// GGUF architecture.
    pub architecture: String,
    /// `general.name`.
    pub name: String,
    /// Weights in all tensors.
    pub parameters: u64,
    /// Number of tensors.
    pub tensors: usize,
    /// Number of tensors in each format, most frequent first.
    pub formats: Vec<(String, usize)>,
    /// Bytes of the tensors.
    pub bytes: u64,
}

/// How far an import is.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// The tensor that comes next; the empty string at the end.
    pub tensor: &'a str,
    /// Bytes of tensors written.
    pub done: u64,
    /// Bytes of tensors in all.
    pub total: u64,
}

/// Writes the model in the folder `from` to the GGUF file `to`, whole or not at all.
///
/// # Errors
/// See [`Error`]; `to` is then as it was.
pub fn import(from: &Path, to: &Path, options: &Options, progress: &mut dyn FnMut(Progress)) -> Result<Report, Error> {
    let folder = Folder::open(from)?;
    let settings = Settings::read(&folder)?;
    let tensors = plan(&folder, &settings, options.floats)?;
    let parameters = tensors.iter().map(|t| t.dims.iter().product::<usize>() as u64).sum();
    let name = options.name.clone().unwrap_or_else(|| folder.name());

    let mut writer = Writer::new(to);
    writer.metadata("general.architecture", settings.arch.name());
    writer.metadata("general.type", "model");
    writer.metadata("general.name", name.as_str());
    writer.metadata("general.size_label", size_label(parameters).as_str());
    for (key, value) in settings.metadata() {
        writer.metadata(&key, value);
    }
    writer.metadata("general.file_type", file_type(&tensors));
    writer.metadata("general.quantization_version", 2u32);
    for (key, value) in tokenizer_metadata(&folder, &settings)? {
        writer.metadata(&key, value);
    }
    for tensor in &tensors {
        writer.tensor(&tensor.name, &tensor.dims, tensor.format);
    }

    let total = tensors.iter().map(|t| t.bytes() as u64).sum();
    let mut body = writer.begin()?;
    let mut done = 0;
    for tensor in &tensors {
        progress(Progress { tensor: &tensor.name, done, total });
        values::write(tensor, &mut |bytes| {
            done += bytes.len() as u64;
            body.write_part(bytes).map_err(Error::from)
        })?;
    }
    progress(Progress { tensor: "", done, total });
    body.finish()?;

    Ok(Report {
        architecture: settings.arch.name().into(),
        name,
        parameters,
        tensors: tensors.len(),
        formats: count_formats(&tensors),
        bytes: total,
    })
}

/// The tokenizer's keys and the chat template. A token for each row of the embedding, as llama.cpp needs it.
fn tokenizer_metadata(folder: &Folder, settings: &Settings) -> Result<Vec<(String, Value)>, Error> {
    let path = folder.path.join("tokenizer.json");
    if !path.is_file() {
        let what = "has no tokenizer.json; without it the model could read and write no text".into();
        return Err(Error::Unsupported { path: folder.path.clone(), what });
    }
    // Names rows without a token `[PAD…]`, up to config.json's `vocab_size`.
    let tokenizer = Tokenizer::from_json(&path)?;
    if tokenizer.vocab_size() != settings.vocab {
        let what = format!("has {} tokens, but the embedding has {} rows", tokenizer.vocab_size(), settings.vocab);
        return Err(Error::Json { path, what });
    }
    for lost in tokenizer.lost_in_gguf() {
        log::warn!("{}: {lost}", path.display());
    }
    Ok(tokenizer.gguf_metadata())
}

/// llama.cpp's number for what most of a file is (`llama_ftype` in llama.h; 40 is microsoft/BitNet's).
fn file_type(tensors: &[Planned]) -> u32 {
    let bytes = |format: Format| tensors.iter().filter(|t| t.format == format && t.dims.len() > 1).count();
    match [Format::I2_S, Format::BF16, Format::F16].into_iter().max_by_key(|&f| bytes(f)) {
        Some(Format::I2_S) if bytes(Format::I2_S) > 0 => 40,
        Some(Format::BF16) if bytes(Format::BF16) > 0 => 32,
        Some(Format::F16) if bytes(Format::F16) > 0 => 1,
        _ => 0,
    }
}

fn count_formats(tensors: &[Planned]) -> Vec<(String, usize)> {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for tensor in tensors {
        match counts.iter_mut().find(|(name, _)| name == tensor.format.name()) {
            Some((_, n)) => *n += 1,
            None => counts.push((tensor.format.name().into(), 1)),
        }
    }
    counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    counts
}

/// A model's size in two digits, as llama.cpp's converter writes it: 60K, 1.2B, 2.4B.
fn size_label(parameters: u64) -> String {
    let (unit, letter) = match parameters {
        n if n > 1_000_000_000_000 => (1e12, 'T'),
        n if n > 1_000_000_000 => (1e9, 'B'),
        n if n > 1_000_000 => (1e6, 'M'),
        _ => (1e3, 'K'),
    };
    let size = parameters as f64 / unit;
    let digits = match size.round_ties_even() {
        0.0 => 2,
        r if r < 10.0 => 1,
        _ => 0,
    };
    format!("{size:.digits$}{letter}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values: `gguf.size_label` of the Python package gguf 0.19.0.
    #[test]
    fn sizes_are_labelled_as_llama_cpp_does() {
        for (parameters, label) in [
            (400, "0.40K"),
            (600, "0.6K"),
            (60_100, "60K"),
            (9_400_000, "9.4M"),
            (9_500_000, "10M"),
            (134_515_008, "135M"),
            (1_235_814_400, "1.2B"),
            (2_412_820_480, "2.4B"),
        ] {
            assert_eq!(size_label(parameters), label);
        }
    }
}
