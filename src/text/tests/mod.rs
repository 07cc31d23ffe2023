//! Tokenizers against the answers of llama.cpp and Hugging Face.

mod vectors;
