//! `I2_S`: ternary codes of a whole tensor, then one scale (microsoft/BitNet, ggml type 36).

/// Bytes after the codes: the f32 scale and 28 bytes of padding.
pub const TAIL_BYTES: usize = 32;
