//! Block formats ↔ f32 in safe scalar code: the specification that the kernels are tested against.

pub mod i2_s;

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
    pub const fn block_len(self) -> usize {
        match self {
            Format::F32 | Format::F16 | Format::BF16 => 1,
            Format::Q4_0 | Format::Q8_0 => 32,
            Format::Q2_0 => 64,
            Format::Q2_0_G128 | Format::I2_S => 128,
            Format::Q4_K | Format::Q5_K | Format::Q6_K | Format::TQ1_0 | Format::TQ2_0 => 256,
        }
    }

    /// Bytes per block (for `I2_S` without the tensor's trailing scale).
    pub const fn block_bytes(self) -> usize {
        match self {
            Format::F32 => 4,
            Format::F16 | Format::BF16 => 2,
            Format::Q4_0 => 18,
            Format::Q8_0 => 34,
            Format::Q4_K => 144,
            Format::Q5_K => 176,
            Format::Q6_K => 210,
            Format::TQ1_0 => 54,
            Format::TQ2_0 => 66,
            Format::Q2_0 => 18,
            Format::Q2_0_G128 => 34,
            Format::I2_S => 32,
        }
    }

    /// Bytes of a tensor of `values` values; `None` if that is not a whole number of blocks, or absurdly many.
    pub fn tensor_bytes(self, values: usize) -> Option<usize> {
        if !values.is_multiple_of(self.block_len()) {
            return None;
        }
        let tail = if self == Format::I2_S { i2_s::TAIL_BYTES } else { 0 };
        (values / self.block_len()).checked_mul(self.block_bytes())?.checked_add(tail)
    }

    /// The format's usual name, e.g. `Q4_K`.
    pub const fn name(self) -> &'static str {
        match self {
            Format::F32 => "F32",
            Format::F16 => "F16",
            Format::BF16 => "BF16",
            Format::Q4_0 => "Q4_0",
            Format::Q8_0 => "Q8_0",
            Format::Q4_K => "Q4_K",
            Format::Q5_K => "Q5_K",
            Format::Q6_K => "Q6_K",
            Format::TQ1_0 => "TQ1_0",
            Format::TQ2_0 => "TQ2_0",
            Format::Q2_0 => "Q2_0",
            Format::Q2_0_G128 => "Q2_0_G128",
            Format::I2_S => "I2_S",
        }
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
