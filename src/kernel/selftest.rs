//! A short known answer per kernel, checked at every start: a wrong build or CPU says so instead of talking nonsense.

use super::isa::{Codes, Kernel, Kernels, Panel, Task};
use super::ternary::{GROUP, STEP, STEP_BYTES};
use super::{Error, float};

/// Compares each operation of `kernels` with constants worked out by hand, and with the scalar code on mixed data.
pub(super) fn check(kernels: Kernels) -> Result<(), Error> {
    kernels.run(Check).map_err(|what| Error::SelfTest { isa: kernels.isa(), what })
}

struct Check;

impl Task for Check {
    type Output = Result<(), String>;

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> Self::Output {
        // Extremes: all codes 2 against −128; 63 · 128 against 127; 127 · 127.
        let q = [-128; 4 * STEP];
        let ternary = kernel.ternary([0b10_10_10_10; 4 * STEP_BYTES].as_slice(), [q.as_slice()]);
        equal("ternary", ternary, [[2 * -128 * 4 * STEP as i32; GROUP]])?;
        equal("scaled", kernel.dot_scaled(&Codes([63; 256]), &[-128; 16], &[127; 256]), 63 * 127 * 256 * -128)?;
        equal("of 32", kernel.dots_of_32(&Codes([-128; 256]), &[127; 256]), [-128 * 127 * 32; 8])?;
        equal("half", kernel.half(0x3555).to_bits(), 0x3eaa_a000)?;

        // Mixed data, from a multiplicative generator.
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let group: [u8; 2 * STEP_BYTES] =
            std::array::from_fn(|_| (0..4).fold(0, |byte, field| byte | (next() % 3) << (2 * field)));
        let tokens: [[i8; 2 * STEP]; 8] = std::array::from_fn(|_| std::array::from_fn(|_| next() as i8));
        let tokens: [&[i8]; 8] = std::array::from_fn(|t| tokens[t].as_slice());
        let scalar = super::scalar::Scalar;
        equal("ternary", kernel.ternary(&group, [tokens[0]]), scalar.ternary(&group, [tokens[0]]))?;
        equal("ternary batch", kernel.ternary::<8>(&group, tokens), scalar.ternary::<8>(&group, tokens))?;
        let codes = Codes(std::array::from_fn(|_| (next() % 64) as i8));
        let scales = std::array::from_fn(|_| i16::from(next() as i8));
        let q = std::array::from_fn(|_| (next() as i8).max(-127));
        equal("scaled", kernel.dot_scaled(&codes, &scales, &q), scalar.dot_scaled(&codes, &scales, &q))?;
        equal("of 32", kernel.dots_of_32(&codes, &q), scalar.dots_of_32(&codes, &q))?;
        let panel = Panel {
            codes: std::array::from_fn(|_| std::array::from_fn(|_| (next() % 64) as i8)),
            scales: std::array::from_fn(|_| {
                let scales: [i16; GROUP] = std::array::from_fn(|_| i16::from(next() as i8));
                std::array::from_fn(|i| scales[i / 2])
            }),
            offsets: std::array::from_fn(|_| std::array::from_fn(|_| 32 * i16::from(next() as i8))),
        };
        let sums = std::array::from_fn(|_| 8 * i16::from(next() as i8));
        let (q, sums) = ([&q; 8], [&sums; 8]);
        equal("panel", kernel.panel(&panel, q, sums), scalar.panel(&panel, q, sums))?;
        // Exponents of ordinary size, so that no comparison meets a NaN.
        let halves = std::array::from_fn(|i| if i % 2 == 0 { next() } else { 0x30 | next() & 0x8f });
        equal("halves", kernel.store(kernel.load_f16(&halves)), scalar.load_f16(&halves))?;
        equal("bfloats", kernel.store(kernel.load_bf16(&halves)), scalar.load_bf16(&halves))?;
        let x: [f32; 45] = std::array::from_fn(|_| f32::from(next()) / 7.0 - 18.0);
        let bytes = bytemuck::cast_slice(&x);
        let dot = || float::Dot::<float::F32>::new(&x, bytes);
        equal("dot", dot().run(kernel).to_bits(), dot().run(scalar).to_bits())
    }
}

#[inline(always)]
fn equal<V: PartialEq + std::fmt::Debug>(what: &str, got: V, expected: V) -> Result<(), String> {
    if got == expected { Ok(()) } else { Err(format!("{what}: {got:?} instead of {expected:?}")) }
}
