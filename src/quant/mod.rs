//! Block formats ↔ f32 in safe scalar code: the specification that the kernels are tested against.

/// How a tensor's values are stored.
///
/// The numbers in the files are ggml's type ids; `Q2_0` has one id and two group sizes, told apart
/// by the tensor's length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, non_camel_case_types)]
pub enum Format {
    F32,
    F16,
    BF16,
    Q4_0,
    Q8_0,
    Q4_K,
    Q5_K,
    Q6_K,
    TQ1_0,
    TQ2_0,
    /// Group of 64, 18 bytes (llama.cpp).
    Q2_0,
    /// Group of 128, 34 bytes (Bonsai).
    Q2_0_G128,
    /// 2-bit codes of the whole tensor in blocks of 128, then one f32 scale and 28 bytes of padding.
    I2_S,
}

impl Format {
    /// Values per block. Rows are a whole number of blocks.
    pub fn block_len(self) -> usize {
        todo!()
    }
    /// Bytes per block (for `I2_S` without the tensor's trailing scale).
    pub fn block_bytes(self) -> usize {
        todo!()
    }
    /// Bytes of a tensor of `values` values; `None` if that is not a whole number of blocks.
    pub fn tensor_bytes(self, _values: usize) -> Option<usize> {
        todo!()
    }
    /// The format's usual name, e.g. `Q4_K`.
    pub fn name(self) -> &'static str {
        todo!()
    }
}

/// Values of a whole tensor. `out.len()` values are read from `bytes`.
///
/// # Panics
/// If `bytes` is not exactly `format.tensor_bytes(out.len())` long.
pub fn dequantize(_format: Format, _bytes: &[u8], _out: &mut [f32]) {
    todo!()
}

/// Packs a whole tensor of rows of `cols` values. `importance` is not used; rounding follows ggml's reference.
///
/// # Panics
/// If `values.len()` or `cols` is not a whole number of blocks.
pub fn quantize(_format: Format, _values: &[f32], _cols: usize) -> Vec<u8> {
    todo!()
}
