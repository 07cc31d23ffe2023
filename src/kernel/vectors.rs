//! Byte vectors of an instruction set's own width, for layouts whose products are written once.
//!
//! Layouts are made of 64-byte vectors; an instruction set with narrower registers takes such a vector in *parts*. All layouts are
//! such that a part needs nothing of the others.

/// The operations on byte vectors that each instruction set brings. Codes are unsigned, activations signed; all sums are exact.
pub(super) trait Vectors: Copy + Send + Sync {
    /// Bytes of a part: 64, 32 or 16.
    const WIDTH: usize;
    /// Whether [`Vectors::trits`] leaves the trits at the places where its table has them.
    const SCALED_TRITS: bool;
    /// `WIDTH` bytes.
    type Bytes: Copy;
    /// `WIDTH / 4` i32.
    type Sums: Copy;

    /// The first `WIDTH` of `bytes`.
    fn load(self, bytes: &[u8]) -> Self::Bytes;
    /// Writes `WIDTH` bytes to the front of `out`.
    fn store_bytes(self, bytes: Self::Bytes, out: &mut [u8]);
    /// Four bytes, again and again.
    fn word(self, word: &[u8; 4]) -> Self::Bytes;
    /// The low and the high four bits of each byte.
    fn nibbles(self, w: Self::Bytes) -> [Self::Bytes; 2];
    /// The four 2-bit fields of each byte, the lowest first.
    fn fields(self, w: Self::Bytes) -> [Self::Bytes; 4];
    /// The same, each still at a place of the instruction set's choice; [`Vectors::unscale`] undoes it.
    fn scaled_fields(self, w: Self::Bytes) -> [Self::Bytes; 4];
    /// Sums of a field of [`Vectors::scaled_fields`] as if it had been at its place.
    fn unscale(self, field: usize, sums: Self::Sums) -> Self::Sums;
    /// The three trits of numbers below 27 (`c₀ + 3c₁ + 9c₂`): `nibbles` are their low four bits, bit `bit` of `fifths` their fifth.
    /// Where [`Vectors::SCALED_TRITS`], they are scaled as fields 0, 1 and 2 are.
    fn trits(self, nibbles: Self::Bytes, fifths: Self::Bytes, bit: usize) -> [Self::Bytes; 3];
    /// The same, each at its place.
    #[inline(always)]
    fn plain_trits(self, nibbles: Self::Bytes, fifths: Self::Bytes, bit: usize) -> [Self::Bytes; 3] {
        let [a, b, c] = self.trits(nibbles, fifths, bit);
        if Self::SCALED_TRITS { [a, self.fields(b)[1], self.fields(c)[2]] } else { [a, b, c] }
    }
    /// Bytes of four vectors side by side: byte `4i + j` of part `v` of each 16 bytes is byte `4v + i` of vector `j`.
    fn interleave(self, w: [Self::Bytes; 4]) -> [Self::Bytes; 4];
    /// No sums yet.
    fn no_sums(self) -> Self::Sums;
    /// `sums[i] + Σ_j codes[4i + j] · q[4i + j]`; a code is at most 192, and `q` is not −128 where it is above 64.
    fn dot(self, sums: Self::Sums, codes: Self::Bytes, q: Self::Bytes) -> Self::Sums;
    /// `a + b`
    fn add(self, a: Self::Sums, b: Self::Sums) -> Self::Sums;
    /// Writes `WIDTH / 4` sums to the front of `out`.
    fn store_sums(self, sums: Self::Sums, out: &mut [i32]);
    /// All sums of each together.
    fn totals(self, sums: [Self::Sums; 4]) -> [i32; 4];
    /// Says that these bytes are wanted soon.
    fn prefetch(self, bytes: &[u8]);
}

/// `c₀ | c₁ << 2 | c₂ << 4` of each number `c₀ + 3c₁ + 9c₂`; what no three trits make stands for three weights 0.
pub(super) const TRITS: [u8; 32] = {
    let mut table = [0b01_01_01; 32];
    let mut i = 0;
    while i < 27 {
        table[i] = (i % 3 + (i / 3 % 3) * 4 + i / 9 * 16) as u8;
        i += 1;
    }
    table
};
