//! Hugging Face safetensors folders to GGUF.
