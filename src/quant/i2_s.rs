//! `I2_S`: ternary codes of a whole tensor, then one scale (microsoft/BitNet, ggml type 36). `w = scale · (q − 1)`.
//!
//! A block is 128 values in 32 bytes, `byte[j] = q[j]<<6 | q[32+j]<<4 | q[64+j]<<2 | q[96+j]`. After all n/4 bytes
//! of codes come the scale (f32) and 28 bytes of padding. Rows are whole blocks, so a row is `cols/4` contiguous bytes.
//!
//! This is the one layout that published files use; builds of bitnet.cpp for ARM since 2025-11 expect
//! another one and cannot read them.

/// Values per block.
pub(crate) const LEN: usize = 128;
/// Bytes per block.
pub(crate) const BYTES: usize = 32;
/// Bytes after the codes: the f32 scale and 28 bytes of padding.
pub(crate) const TAIL_BYTES: usize = 32;

/// The codes and the scale of a whole tensor's bytes.
///
/// # Panics
/// If there is no room for the tail.
pub(super) fn split(bytes: &[u8]) -> (&[u8], f32) {
    let (codes, tail) = bytes.split_at(bytes.len() - TAIL_BYTES);
    (codes, f32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]))
}

/// Code of value `i` of a block: 0, 1 or 2 (3 is not written).
fn code(block: &[u8; BYTES], i: usize) -> u8 {
    block[i % 32] >> (6 - 2 * (i / 32)) & 3
}

/// Some blocks of a tensor to f32; the scale comes from [`split`].
pub(super) fn unpack(blocks: &[u8], scale: f32, out: &mut [f32]) {
    let (blocks, _) = blocks.as_chunks::<BYTES>();
    for (block, out) in blocks.iter().zip(out.as_chunks_mut::<LEN>().0) {
        for (i, v) in out.iter_mut().enumerate() {
            *v = scale * (f32::from(code(block, i)) - 1.0);
        }
    }
}

/// A whole tensor. `scale = max|x|`, rounded half away from zero; exact for values that are −scale, 0 or scale.
pub(super) fn pack(x: &[f32]) -> Vec<u8> {
    let scale = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let (blocks, _) = x.as_chunks::<LEN>();
    let mut bytes = Vec::with_capacity(x.len() / 4 + TAIL_BYTES);
    for block in blocks {
        let code = |i: usize| super::ternary_code(block[i], scale);
        bytes.extend((0..32).map(|j| code(j) << 6 | code(32 + j) << 4 | code(64 + j) << 2 | code(96 + j)));
    }
    bytes.extend(scale.to_le_bytes());
    bytes.resize(x.len() / 4 + TAIL_BYTES, 0);
    bytes
}
