//! Tokenizers and templates against the answers of llama.cpp and Hugging Face.

mod golden;
mod hostile;
mod long;
mod shield;
mod vectors;

use super::Tokenizer;
use crate::gguf;
use std::path::PathBuf;

/// A file of this project.
fn ours(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Data that are not part of the project, if they are there.
fn data(name: &str) -> Option<PathBuf> {
    let beside = ours("../shared/data");
    let found = std::env::var_os("LOCO_TEST_DATA").map(PathBuf::from).into_iter().chain([beside]);
    let path = found.map(|dir| dir.join(name)).find(|path| path.exists());
    if path.is_none() {
        println!("skipped: no {name}");
    }
    path
}

/// The tokenizer of the demo base.
fn demo() -> Tokenizer {
    Tokenizer::from_gguf(&gguf::File::open(&ours("models/demo/demo-early-I2_S.gguf")).unwrap()).unwrap()
}
