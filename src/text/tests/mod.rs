//! Tokenizers and templates against the answers of llama.cpp and Hugging Face.

mod defaults;
mod golden;
mod hostile;
mod json;
mod long;
mod shield;
mod vectors;

use super::{Error, Tokenizer};
use crate::gguf::{self, Array, Value, Writer};
use std::path::PathBuf;

/// A file of this project.
fn ours(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The tokenizer of the demo base.
fn demo() -> Tokenizer {
    Tokenizer::from_gguf(&gguf::File::open(&ours("models/demo/loco-demo-1.58.gguf")).unwrap()).unwrap()
}

/// A tokenizer from these metadata, through a file.
fn load(metadata: Vec<(&str, Value)>) -> Result<Tokenizer, Error> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vocab.gguf");
    let mut writer = Writer::new(&path);
    metadata.into_iter().for_each(|(key, value)| writer.metadata(key, value));
    writer.begin().unwrap().finish().unwrap();
    Tokenizer::from_gguf(&gguf::File::open(&path).unwrap())
}

fn text(s: &str) -> Value {
    Value::String(s.to_owned())
}

fn strings(all: &[&str]) -> Value {
    Value::Array(Array::String(all.iter().map(|s| (*s).to_owned()).collect()))
}

/// A byte-level vocabulary that cuts as GPT-2 does.
fn bpe(tokens: &[&str], merges: &[&str], more: Vec<(&str, Value)>) -> Result<Tokenizer, Error> {
    let mut all = vec![
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("gpt-2")),
        ("tokenizer.ggml.tokens", strings(tokens)),
        ("tokenizer.ggml.merges", strings(merges)),
    ];
    all.extend(more);
    load(all)
}
