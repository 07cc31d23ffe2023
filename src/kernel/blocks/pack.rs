//! Rows of a file to panels.

use super::layout::{Small2, Small4, Small8, Super4, Super5, Super6, SuperTernary};
use super::unpack::{Superblock, small_block};
use crate::kernel::isa::{Panel, SmallPanel};
use crate::kernel::memory::spread;
use crate::kernel::ternary::GROUP;
use crate::quant::Format;
use half::f16;
use std::borrow::Cow;

/// Fills the panels of a matrix whose rows are `row(r)`: zeros so far, and [`group_bytes`] for each 16 rows. Rows and columns beyond the
/// matrix stay zeros.
pub(super) fn fill<'a>(
    panels: &mut [u8],
    format: Format,
    rows: usize,
    cols: usize,
    row: impl Fn(usize) -> Cow<'a, [u8]> + Sync,
) {
    let rows = Rows { format, rows, cols, row };
    match format {
        Format::Q4_K => rows.superblocks::<Super4>(panels),
        Format::Q5_K => rows.superblocks::<Super5>(panels),
        Format::Q6_K => rows.superblocks::<Super6>(panels),
        Format::TQ1_0 | Format::TQ2_0 => rows.superblocks::<SuperTernary>(panels),
        Format::Q8_0 => rows.small_blocks::<Small8>(panels),
        Format::Q4_0 => rows.small_blocks::<Small4>(panels),
        Format::Q2_0 | Format::Q2_0_G128 => rows.small_blocks::<Small2>(panels),
        Format::F32 | Format::F16 | Format::BF16 | Format::I2_S => unreachable!("not a format of blocks: {format:?}"),
    }
}

/// Bytes of 16 rows. `None` if `format` is not one of blocks.
pub(super) fn group_bytes(format: Format, cols: usize) -> Option<usize> {
    let (wide, narrow) = (cols / 256, cols.div_ceil(64));
    Some(match format {
        Format::Q4_K => wide * Super4::SIZE,
        Format::Q5_K => wide * Super5::SIZE,
        Format::Q6_K => wide * Super6::SIZE,
        Format::TQ1_0 | Format::TQ2_0 => wide * SuperTernary::SIZE,
        Format::Q8_0 => narrow * Small8::SIZE,
        Format::Q4_0 => narrow * Small4::SIZE,
        Format::Q2_0 | Format::Q2_0_G128 => narrow * Small2::SIZE,
        Format::F32 | Format::F16 | Format::BF16 | Format::I2_S => return None,
    })
}

struct Rows<F> {
    format: Format,
    rows: usize,
    cols: usize,
    row: F,
}

impl<'a, F: Fn(usize) -> Cow<'a, [u8]> + Sync> Rows<F> {
    /// Fills the panels of each group of rows; the groups are shared out among threads.
    fn groups(&self, out: &mut [u8], group_bytes: usize, fill: impl Fn(usize, &mut [u8]) + Sync) {
        spread(out, group_bytes, &|first, part| {
            for (g, out) in part.chunks_exact_mut(group_bytes).enumerate() {
                fill(first + g, out);
            }
        });
    }

    /// The rows of a group, with their numbers in it.
    fn of_group(&self, g: usize) -> impl Iterator<Item = (usize, Cow<'a, [u8]>)> {
        (0..GROUP.min(self.rows - g * GROUP)).map(move |r| (r, (self.row)(g * GROUP + r)))
    }

    fn superblocks<P: Panel>(&self, out: &mut [u8]) {
        let panels = self.cols / 256;
        self.groups(out, panels * P::SIZE, |g, out| {
            let mut block = Superblock::NEW;
            for (r, row) in self.of_group(g) {
                let blocks = row.chunks_exact(self.format.block_bytes());
                for (panel, bytes) in out.chunks_exact_mut(P::SIZE).zip(blocks) {
                    block.read(self.format, bytes);
                    put_superblock::<P>(panel, r, &block);
                }
            }
        });
    }

    fn small_blocks<P: SmallPanel>(&self, out: &mut [u8]) {
        let len = self.format.block_len();
        let panels = self.cols.div_ceil(64);
        self.groups(out, panels * P::SIZE, |g, out| {
            let mut codes = [0; 128];
            for (r, row) in self.of_group(g) {
                for (b, bytes) in row.chunks_exact(self.format.block_bytes()).enumerate() {
                    let d = small_block(self.format, bytes, &mut codes[..len]);
                    for (i, codes) in codes[..len].chunks_exact(32).enumerate() {
                        let at = b * len / 32 + i;
                        put_small_block::<P>(&mut out[at / 2 * P::SIZE..][..P::SIZE], at % 2, r, codes, d);
                    }
                }
            }
        });
    }
}

/// Puts row `r` of a superblock into its panel.
fn put_superblock<P: Panel>(panel: &mut [u8], r: usize, block: &Superblock) {
    for (k, code) in block.codes.iter().enumerate() {
        let place = 4 * r + k % 4;
        panel[P::low(k / 8) * 64 + place] |= (code & 15) << (k / 4 % 2 * 4);
        if P::HIGH > 0 {
            // Fields of one or two bits.
            let field = k / 4 % (8 >> (P::HIGH - 1));
            panel[P::high(k / 8) * 64 + place] |= code >> 4 << (field * P::HIGH);
        }
    }
    let every = if P::FINE { 1 } else { 2 };
    for (j, scale) in block.scales.iter().step_by(every).enumerate() {
        panel[P::SCALES_AT + j * GROUP + r] = *scale as u8;
    }
    put_half(panel, P::D_AT + 2 * r, block.d);
    if P::BIAS.is_none() {
        for (j, min) in block.mins.iter().enumerate() {
            panel[P::MINS_AT + j / 2 * 2 * GROUP + 2 * r + j % 2] = *min;
        }
        put_half(panel, P::D_AT + 2 * (GROUP + r), block.dmin);
    }
}

/// Puts row `r` of 32 columns into half `half` of its panel.
fn put_small_block<P: SmallPanel>(panel: &mut [u8], half: usize, r: usize, codes: &[u8], d: f16) {
    let to = &mut panel[half * P::CODES..][..P::CODES];
    for (k, &code) in codes.iter().enumerate() {
        if P::BYTES {
            to[k / 4 * 64 + 4 * r + k % 4] = code;
        } else {
            put_nibble(to, r, k, code);
        }
    }
    put_half(panel, 2 * P::CODES + 2 * (GROUP * half + r), d);
}

fn put_nibble(codes: &mut [u8], r: usize, k: usize, nibble: u8) {
    codes[k / 8 * 64 + 4 * r + k % 4] |= nibble << (k / 4 % 2 * 4);
}

fn put_half(panel: &mut [u8], at: usize, value: f16) {
    panel[at..at + 2].copy_from_slice(&value.to_le_bytes());
}
