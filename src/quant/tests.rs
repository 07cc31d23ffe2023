//! Round trips; equality with ggml is in tests/quant_golden.rs.
