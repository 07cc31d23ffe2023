//! Turns model files into other model files: Hugging Face folders into GGUF, GGUF into smaller GGUF.

pub mod import;
pub mod quantize;
