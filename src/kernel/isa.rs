//! Which instruction sets there are, which of them this CPU has, and how generic code is compiled for each.
//!
//! A kernel *value* ([`Scalar`], `Avx2`, …) is the proof that the CPU has the feature: the only way to one is its
//! `new`, which asks the CPU. The algorithms (how rows, blocks and tokens are walked) are written once, as a [`Task`]
//! generic over [`Kernel`]; running a task through a kernel compiles the whole of it for that instruction set.
//! Only the few operations in [`Kernel`] are written per instruction set.

#[cfg(target_arch = "aarch64")]
use super::aarch64::{dotprod::NeonDot, neon::Neon};
use super::scalar::Scalar;
use super::ternary::GROUP;
use super::vectors::Vectors;
#[cfg(target_arch = "x86_64")]
use super::x86_64::{avx2::Avx2, avx512::Avx512Vnni};
use super::{Error, Isa};

/// How a panel of superblocks stores its codes and scales: 256 columns of 16 rows (see [`super::blocks`]).
pub(super) trait Panel: Copy + Send + Sync + 'static {
    /// Bits of a code above its low four: 0, 1 or 2.
    const HIGH: usize;
    /// Whether each 16 columns of a row have a scale (int8), and not each 32 (0..=63).
    const FINE: bool;
    /// How much too large codes are; if `None`, each 32 columns have an offset of their own (0..=63).
    const BIAS: Option<i32>;

    /// 64-byte vectors of 32 columns: four of nibbles, then those of upper bits.
    const VECTORS: usize = 4 + Self::HIGH;
    /// Where the scales begin: `[columns / 16 or 32][row]`.
    const SCALES_AT: usize = 8 * Self::VECTORS * 64;
    /// Where the offsets begin: `[columns / 64][row][2]`.
    const MINS_AT: usize = Self::SCALES_AT + if Self::FINE { 256 } else { 128 };
    /// Where the f16 scales of the 16 rows begin, and after them those of their offsets.
    const D_AT: usize = Self::MINS_AT + if Self::BIAS.is_none() { 128 } else { 0 };
    /// Bytes of a panel.
    const SIZE: usize = Self::D_AT + 64;

    /// The vector with the nibbles of columns `8v .. 8v + 8`.
    #[inline(always)]
    fn low(v: usize) -> usize {
        v / 4 * Self::VECTORS + v % 4
    }
    /// The vector with their upper bits.
    #[inline(always)]
    fn high(v: usize) -> usize {
        v / 4 * Self::VECTORS + 4 + v % 4 * Self::HIGH / 4
    }
}

/// How a panel of small blocks stores its codes: 64 columns of 16 rows, then 32 f16 scales, `[columns / 32][row]`.
pub(super) trait SmallPanel: Copy + Send + Sync + 'static {
    /// Whether codes are bytes, and not nibbles.
    const BYTES: bool;
    /// How much too large codes are.
    const BIAS: i32;

    /// Bytes of the codes of 32 columns.
    const CODES: usize = if Self::BYTES { 512 } else { 256 };
    /// Bytes of a panel.
    const SIZE: usize = 2 * Self::CODES + 64;
}

/// What a [`Panel`] gives with one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PanelSums {
    /// `Σ_k scale · (code − bias) · q` of each row.
    pub(super) scaled: [i32; GROUP],
    /// `Σ_j offset · sum` of each row, where there are offsets.
    pub(super) offset: [i32; GROUP],
}

/// The operations that each instruction set brings. All integer sums are exact.
pub(super) trait Kernel: Vectors {
    /// 32 f32 in registers.
    type Lanes: Copy;

    /// Runs `task`, compiled for this instruction set.
    fn run<T: Task>(self, task: T) -> T::Output;

    /// `sums[t][r] = Σ_k code[r][k] · q[t][k]` over one packed row group (see [`super::ternary`]), codes 0, 1, 2.
    /// Each of `q` is at least as long as the group's rows.
    fn ternary<const T: usize>(self, group: &[u8], q: [&[i8]; T]) -> [[i32; GROUP]; T];

    /// 16 rows × 256 columns with `T` tokens. `sums[t][j]` is the sum of 16 values of `q[t]`, |q| ≤ 127.
    fn panel<P: Panel, const T: usize>(self, panel: &[u8], q: [&[i8; 256]; T], sums: [&[i16; 16]; T])
    -> [PanelSums; T];

    /// `Σ_k (code − bias) · q` of 16 rows over 32 columns. `sums[t]` is the sum of `q[t]`, |q| ≤ 127.
    fn small_panel<P: SmallPanel, const T: usize>(
        self,
        codes: &[u8],
        q: [&[i8; 32]; T],
        sums: [i32; T],
    ) -> [[i32; GROUP]; T];

    /// 32 numbers of `bytes` (little-endian) as f32, exactly.
    fn load_f32(self, bytes: &[u8; 128]) -> Self::Lanes;
    /// 32 numbers in IEEE half precision as f32, exactly.
    fn load_f16(self, bytes: &[u8; 64]) -> Self::Lanes;
    /// 32 numbers in bfloat16 as f32, exactly.
    fn load_bf16(self, bytes: &[u8; 64]) -> Self::Lanes;
    /// 32 int8 as f32.
    fn load_i8(self, bytes: &[u8; 32]) -> Self::Lanes;
    /// 32 times `x`.
    fn splat(self, x: f32) -> Self::Lanes;
    /// `sum[i] + a[i]·b[i]`, rounded once.
    fn add_products(self, sum: Self::Lanes, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    /// The 32 numbers.
    fn store(self, lanes: Self::Lanes) -> [f32; 32];

    /// One half-precision number as f32, exactly.
    fn half(self, bits: u16) -> f32;
}

/// Work written once and compiled for each instruction set. `run` must be `#[inline(always)]`, and what it calls
/// too, down to the operations of the kernel.
pub(super) trait Task {
    type Output;
    fn run<K: Kernel>(self, kernel: K) -> Self::Output;
}

/// The kernels in use.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kernels {
    Scalar(Scalar),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(Avx512Vnni),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    #[cfg(target_arch = "aarch64")]
    NeonDot(NeonDot),
}

impl Kernels {
    pub(super) const SCALAR: Kernels = Kernels::Scalar(Scalar);

    /// All that this CPU can run, the fastest last.
    pub(super) fn available() -> Vec<Kernels> {
        let mut all = vec![Self::SCALAR];
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(Avx2::new().map(Kernels::Avx2));
            all.extend(Avx512Vnni::new().map(Kernels::Avx512Vnni));
        }
        #[cfg(target_arch = "aarch64")]
        {
            all.extend(Neon::new().map(Kernels::Neon));
            all.extend(NeonDot::new().map(Kernels::NeonDot));
        }
        all
    }

    /// The kernels of `isa`, or the fastest.
    pub(super) fn choose(isa: Option<Isa>) -> Result<Kernels, Error> {
        let all = Self::available();
        let Some(isa) = isa else { return Ok(all.last().copied().unwrap_or(Self::SCALAR)) };
        all.iter().copied().find(|k| k.isa() == isa).ok_or_else(|| {
            let names: Vec<_> = all.iter().map(|k| k.isa().to_string()).collect();
            Error::Unsupported(isa, names.join(", "))
        })
    }

    pub(super) fn isa(self) -> Isa {
        match self {
            Kernels::Scalar(_) => Isa::Scalar,
            #[cfg(target_arch = "x86_64")]
            Kernels::Avx2(_) => Isa::Avx2,
            #[cfg(target_arch = "x86_64")]
            Kernels::Avx512Vnni(_) => Isa::Avx512Vnni,
            #[cfg(target_arch = "aarch64")]
            Kernels::Neon(_) => Isa::Neon,
            #[cfg(target_arch = "aarch64")]
            Kernels::NeonDot(_) => Isa::NeonDot,
        }
    }

    #[inline]
    pub(super) fn run<T: Task>(self, task: T) -> T::Output {
        match self {
            Kernels::Scalar(k) => k.run(task),
            #[cfg(target_arch = "x86_64")]
            Kernels::Avx2(k) => k.run(task),
            #[cfg(target_arch = "x86_64")]
            Kernels::Avx512Vnni(k) => k.run(task),
            #[cfg(target_arch = "aarch64")]
            Kernels::Neon(k) => k.run(task),
            #[cfg(target_arch = "aarch64")]
            Kernels::NeonDot(k) => k.run(task),
        }
    }
}
