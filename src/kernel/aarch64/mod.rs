//! Kernels for AArch64, with and without the dot-product instructions.

mod bytes;
pub(super) mod dotprod;
pub(super) mod neon;
