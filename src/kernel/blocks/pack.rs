//! Rows of a file to panels.

use super::layout::{Small2, Small4, Small8, Super4, Super5, Super6, SuperTernary};
use super::unpack::{Superblock, small_block};
use crate::kernel::isa::{Panel, SmallPanel};
use crate::kernel::ternary::GROUP;
use crate::quant::Format;
use half::f16;
use std::borrow::Cow;

/// The panels of a matrix whose rows are `row(r)`. Rows and columns beyond the matrix are zeros. `None` if `format` is not one of
/// blocks.
pub(super) fn panels<'a>(
    format: Format,
    rows: usize,
    cols: usize,
    row: impl Fn(usize) -> Cow<'a, [u8]> + Sync,
) -> Option<Vec<u8>> {
    let rows = Rows { format, rows, cols, row };
    Some(match format {
        Format::Q4_K => rows.superblocks::<Super4>(),
        Format::Q5_K => rows.superblocks::<Super5>(),
        Format::Q6_K => rows.superblocks::<Super6>(),
        Format::TQ1_0 | Format::TQ2_0 => rows.superblocks::<SuperTernary>(),
        Format::Q8_0 => rows.small_blocks::<Small8>(),
        Format::Q4_0 => rows.small_blocks::<Small4>(),
        Format::Q2_0 | Format::Q2_0_G128 => rows.small_blocks::<Small2>(),
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
    fn groups(&self, group_bytes: usize, fill: impl Fn(usize, &mut [u8]) + Sync) -> Vec<u8> {
        let groups = self.rows.div_ceil(GROUP);
        let mut out = vec![0; groups * group_bytes];
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(groups.max(1));
        let each = groups.div_ceil(threads).max(1);
        let work = |part: usize, out: &mut [u8]| {
            for (g, out) in out.chunks_exact_mut(group_bytes).enumerate() {
                fill(part * each + g, out);
            }
        };
        // A small matrix is done sooner than a thread has started.
        if each * group_bytes < 1 << 18 {
            out.chunks_mut((each * group_bytes).max(1)).enumerate().for_each(|(part, out)| work(part, out));
            return out;
        }
        std::thread::scope(|scope| {
            for (part, out) in out.chunks_mut(each * group_bytes).enumerate() {
                let work = &work;
                scope.spawn(move || work(part, out));
            }
        });
        out
    }

    /// The rows of a group, with their numbers in it.
    fn of_group(&self, g: usize) -> impl Iterator<Item = (usize, Cow<'a, [u8]>)> {
        (0..GROUP.min(self.rows - g * GROUP)).map(move |r| (r, (self.row)(g * GROUP + r)))
    }

    fn superblocks<P: Panel>(&self) -> Vec<u8> {
        let panels = self.cols / 256;
        self.groups(panels * P::SIZE, |g, out| {
            let mut block = Superblock::NEW;
            for (r, row) in self.of_group(g) {
                let blocks = row.chunks_exact(self.format.block_bytes());
                for (panel, bytes) in out.chunks_exact_mut(P::SIZE).zip(blocks) {
                    block.read(self.format, bytes);
                    put_superblock::<P>(panel, r, &block);
                }
            }
        })
    }

    fn small_blocks<P: SmallPanel>(&self) -> Vec<u8> {
        let len = self.format.block_len();
        let panels = self.cols.div_ceil(64);
        self.groups(panels * P::SIZE, |g, out| {
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
        })
    }
}

/// Puts row `r` of a superblock into its panel.
fn put_superblock<P: Panel>(panel: &mut [u8], r: usize, block: &Superblock) {
    for (k, code) in block.codes.iter().enumerate() {
        put_nibble(panel, r, k, code & 15);
    }
    if P::HIGH > 0 {
        let fields = 8 >> (P::HIGH - 1);
        for (k, code) in block.codes.iter().enumerate() {
            let at = P::HIGH_AT + k / (4 * fields) * 64 + 4 * r + k % 4;
            panel[at] |= code >> 4 << (k / 4 % fields * P::HIGH);
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
