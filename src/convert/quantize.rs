//! GGUF to smaller GGUF, with llama.cpp's choice of format per tensor.
