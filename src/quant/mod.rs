//! Block formats ↔ f32 in safe scalar code: the specification that the kernels are tested against.
//!
//! One file per family; each says where in a block every field is. All numbers are little-endian, and a
//! format's values, bit for bit, are those of ggml's reference code (ggml-quants.c), `I2_S` of microsoft/BitNet. Packing gives ggml's
//! bytes too, but for one rare case of `Q4_K` and `Q5_K` (see `k`).

mod float;
pub(crate) mod i2_s;
pub(crate) mod k;
pub(crate) mod q2_0;
pub(crate) mod q4_0;
pub(crate) mod q8_0;
mod ternary;
pub(crate) mod tq1_0;
pub(crate) mod tq2_0;

pub use ternary::{absmean, ternary_codes};

#[cfg(test)]
mod tests;

/// How a tensor's values are stored.
///
/// The numbers in the files are ggml's type ids; `Q2_0` has one id and two group sizes, told apart
/// by the tensor's length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
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

    /// Where in a block its f16 scales are.
    pub(crate) const fn scales_at(self) -> &'static [usize] {
        match self {
            Format::F32 | Format::F16 | Format::BF16 | Format::I2_S => &[],
            Format::Q4_0 | Format::Q8_0 | Format::Q2_0 | Format::Q2_0_G128 => &[0],
            Format::Q4_K | Format::Q5_K => &[0, k::DMIN],
            Format::Q6_K => &[k::Q6_D],
            Format::TQ1_0 => &[tq1_0::D],
            Format::TQ2_0 => &[tq2_0::D],
        }
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
pub fn dequantize(format: Format, bytes: &[u8], out: &mut [f32]) {
    assert_eq!(Some(bytes.len()), format.tensor_bytes(out.len()), "bytes of {} values of {format:?}", out.len());
    match format {
        Format::F32 => unpack(bytes, out, float::f32_unpack),
        Format::F16 => unpack(bytes, out, float::f16_unpack),
        Format::BF16 => unpack(bytes, out, float::bf16_unpack),
        Format::Q4_0 => unpack(bytes, out, q4_0::unpack),
        Format::Q8_0 => unpack(bytes, out, q8_0::unpack),
        Format::Q4_K => unpack(bytes, out, k::q4_unpack),
        Format::Q5_K => unpack(bytes, out, k::q5_unpack),
        Format::Q6_K => unpack(bytes, out, k::q6_unpack),
        Format::TQ1_0 => unpack(bytes, out, tq1_0::unpack),
        Format::TQ2_0 => unpack(bytes, out, tq2_0::unpack),
        Format::Q2_0 => unpack(bytes, out, q2_0::unpack::<{ q2_0::BYTES }, { q2_0::LEN }>),
        Format::Q2_0_G128 => unpack(bytes, out, q2_0::unpack::<{ q2_0::BYTES_G128 }, { q2_0::LEN_G128 }>),
        Format::I2_S => {
            let (codes, scale) = i2_s::split(bytes);
            i2_s::unpack(codes, scale, out);
        }
    }
}

/// Values of some rows of a tensor: `out` is filled from row `first` on, `out.len() / cols` rows. `bytes` are the whole tensor's.
///
/// # Panics
/// If `cols` is not a whole number of blocks, `out` not a whole number of rows, or the rows are not all there.
pub fn dequantize_rows(format: Format, bytes: &[u8], cols: usize, first: usize, out: &mut [f32]) {
    assert!(cols.is_multiple_of(format.block_len()) && out.len().is_multiple_of(cols), "rows of {cols} {format:?}");
    let row = cols / format.block_len() * format.block_bytes();
    let rows = first * row..(first + out.len() / cols) * row;
    match format {
        Format::I2_S => {
            let (codes, scale) = i2_s::split(bytes);
            i2_s::unpack(&codes[rows], scale, out);
        }
        _ => dequantize(format, &bytes[rows], out),
    }
}

/// Packs a whole tensor of rows of `cols` values, rounded as by ggml's reference without an importance matrix.
///
/// # Panics
/// If `values.len()` or `cols` is not a whole number of blocks.
pub fn quantize(format: Format, values: &[f32], cols: usize) -> Vec<u8> {
    let block = format.block_len();
    assert!(cols.is_multiple_of(block) && values.len().is_multiple_of(block), "rows of {cols} values in {format:?}");
    match format {
        Format::F32 => pack(values, float::f32_pack),
        Format::F16 => pack(values, float::f16_pack),
        Format::BF16 => pack(values, float::bf16_pack),
        Format::Q4_0 => pack(values, q4_0::pack),
        Format::Q8_0 => pack(values, q8_0::pack),
        Format::Q4_K => pack(values, k::q4_pack),
        Format::Q5_K => pack(values, k::q5_pack),
        Format::Q6_K => pack(values, k::q6_pack),
        Format::TQ1_0 => pack(values, tq1_0::pack),
        Format::TQ2_0 => pack(values, tq2_0::pack),
        Format::Q2_0 => pack(values, q2_0::pack::<{ q2_0::BYTES }, { q2_0::LEN }>),
        Format::Q2_0_G128 => pack(values, q2_0::pack::<{ q2_0::BYTES_G128 }, { q2_0::LEN_G128 }>),
        Format::I2_S => i2_s::pack(values),
    }
}

fn unpack<const B: usize, const L: usize>(bytes: &[u8], out: &mut [f32], block: fn(&[u8; B], &mut [f32; L])) {
    bytes.as_chunks::<B>().0.iter().zip(out.as_chunks_mut::<L>().0).for_each(|(bytes, out)| block(bytes, out));
}

fn pack<const B: usize, const L: usize>(values: &[f32], block: fn(&[f32; L], &mut [u8; B])) -> Vec<u8> {
    let mut bytes = vec![0; values.len() / L * B];
    values.as_chunks::<L>().0.iter().zip(bytes.as_chunks_mut::<B>().0).for_each(|(values, bytes)| block(values, bytes));
    bytes
}

fn get_f16(block: &[u8], at: usize) -> f32 {
    half::f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn put_f16(block: &mut [u8], at: usize, v: f32) {
    block[at..at + 2].copy_from_slice(&half::f16::from_f32(v).to_le_bytes());
}

/// Code 0, 1 or 2 of a value among −d, 0, d, rounded half away from zero.
fn ternary_code(v: f32, d: f32) -> u8 {
    let id = if d > 0.0 { 1.0 / d } else { 0.0 };
    ((v * id).round() + 1.0) as u8
}
