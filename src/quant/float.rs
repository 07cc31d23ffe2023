//! `F32`, `F16` (IEEE half) and `BF16` (the upper half of an f32), little-endian. Rounded half to even.

use half::{bf16, f16};

pub(super) fn f32_unpack(block: &[u8; 4], out: &mut [f32; 1]) {
    out[0] = f32::from_le_bytes(*block);
}

pub(super) fn f32_pack(x: &[f32; 1], block: &mut [u8; 4]) {
    *block = x[0].to_le_bytes();
}

pub(super) fn f16_unpack(block: &[u8; 2], out: &mut [f32; 1]) {
    out[0] = f16::from_le_bytes(*block).to_f32();
}

pub(super) fn f16_pack(x: &[f32; 1], block: &mut [u8; 2]) {
    *block = f16::from_f32(x[0]).to_le_bytes();
}

pub(super) fn bf16_unpack(block: &[u8; 2], out: &mut [f32; 1]) {
    out[0] = bf16::from_le_bytes(*block).to_f32();
}

pub(super) fn bf16_pack(x: &[f32; 1], block: &mut [u8; 2]) {
    *block = bf16::from_f32(x[0]).to_le_bytes();
}
