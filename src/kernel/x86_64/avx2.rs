//! stub
#![allow(unsafe_code)]
use crate::kernel::isa::{Codes, Kernel, Task};
use crate::kernel::scalar::Scalar;
use crate::kernel::ternary::GROUP;
#[derive(Debug, Clone, Copy)]
pub(in crate::kernel) struct Avx2(());
impl Avx2 {
    pub(in crate::kernel) fn new() -> Option<Self> { None }
}
impl Kernel for Avx2 {
    fn run<T: Task>(self, task: T) -> T::Output { task.run(self) }
    #[inline(always)]
    fn ternary<const T: usize>(self, group: &[u8], q: [&[i8]; T]) -> [[i32; GROUP]; T] { Scalar.ternary(group, q) }
    #[inline(always)]
    fn dot_scaled(self, codes: &Codes, scales: &[i16; 16], q: &[i8; 256]) -> i32 { Scalar.dot_scaled(codes, scales, q) }
    #[inline(always)]
    fn dots_of_32(self, codes: &Codes, q: &[i8; 256]) -> [i32; 8] { Scalar.dots_of_32(codes, q) }
    #[inline(always)]
    fn halves(self, bytes: &[u8; 64]) -> [f32; 32] { Scalar.halves(bytes) }
    #[inline(always)]
    fn half(self, bits: u16) -> f32 { Scalar.half(bits) }
}
