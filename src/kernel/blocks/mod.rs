//! Block formats: rows of small blocks with scales, against int8 activation blocks.
//!
//! At load, 16 rows are interleaved into panels (see `layout`) that the kernels read as one sequential stream, for one token
//! and for many; the file's own bytes are not needed afterwards. Two families, after the activations they meet:
//!
//! * **Superblocks** (`Q4_K`, `Q5_K`, `Q6_K`, `TQ1_0`, `TQ2_0`) meet [`Form::Block256`]. Of a superblock with codes c, scales sc
//!   and offsets m, `i = Σ_j sc_j · Σ c·q` and `o = Σ_j m_j · Σ q` are exact i32. Then, in f32: `y += (d·dx)·i`, c less its bias
//!   where the format has one, and where it has offsets of their own `y −= (dmin·dx)·o`.
//! * **Small blocks** (`Q8_0`, `Q4_0`, `Q2_0`) meet [`Form::Block32`]: for each 32 values `i = Σ c·q` is exact,
//!   then `y += (d·dx)·i`.
//!
//! Each `+=` is one fused multiply-add, blocks are added in order of columns, starting from 0: one defined result, whatever the
//! instruction set or the order of rows.

mod layout;
mod pack;
mod unpack;

pub(super) use layout::{Small2, Small4, Small8, Super4, Super5, Super6, SuperTernary};

use super::activations::{Form, Quantised, Row};
use super::isa::{Kernel, Panel, SmallPanel, Task};
use super::matrix::Table;
use super::memory::Aligned;
use super::output::Output;
use super::ternary::GROUP;
use super::{Error, shape};
use crate::gguf::Bytes;
use crate::quant::{self, Format};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A matrix of a block format, as panels.
#[derive(Debug)]
pub(super) struct Blocks {
    format: Format,
    rows: usize,
    cols: usize,
    /// `[rows / 16][columns / 256 or 64]` panels.
    panels: Bytes,
}

impl Blocks {
    /// Interleaves rows. `bytes` has the right length and rows are whole blocks. `None` if `format` is not one of this module's.
    pub(super) fn new(format: Format, rows: usize, cols: usize, bytes: &[u8]) -> Option<Blocks> {
        let row = cols / format.block_len() * format.block_bytes();
        let mut panels = Aligned::zeroed(pack::group_bytes(format, cols)? * rows.div_ceil(GROUP));
        pack::fill(&mut panels, format, rows, cols, |r| bytes[r * row..][..row].into());
        Some(Blocks { format, rows, cols, panels: Bytes::new(panels) })
    }

    /// The same of rows in another format, which are rounded to `format` first, some thousand at a time; `done` hears which are not read
    /// again. `cols` is a whole number of blocks of `format`.
    pub(super) fn rounded(format: Format, table: &Table, done: &dyn Fn(Range<usize>)) -> Result<Option<Blocks>, Error> {
        /// A whole number of groups.
        const ROWS: usize = 256 * GROUP;
        let (rows, cols) = (table.rows(), table.cols());
        // The first row with a value that is no number; rounding would hide it.
        let broken = AtomicUsize::new(usize::MAX);
        let Some(bytes) = pack::group_bytes(format, cols) else { return Ok(None) };
        let mut panels = Aligned::zeroed(bytes * rows.div_ceil(GROUP));
        for (part, first) in panels.chunks_mut(bytes * ROWS / GROUP).zip((0..rows).step_by(ROWS)) {
            let some = ROWS.min(rows - first);
            pack::fill(part, format, some, cols, |r| {
                let mut values = vec![0.0; cols];
                table.row(first + r, &mut values);
                if !values.iter().all(|x| x.is_finite()) {
                    broken.fetch_min(first + r, Ordering::Relaxed);
                }
                quant::quantize(format, &values, cols).into()
            });
            done(first..first + some);
        }
        match broken.into_inner() {
            usize::MAX => Ok(Some(Blocks { format, rows, cols, panels: Bytes::new(panels) })),
            r => Err(shape(format!("row {r} has a value that is infinite or NaN"))),
        }
    }

    /// Panels that were made before. `None` if they have not the length that the shape asks for.
    pub(super) fn from_packed(format: Format, rows: usize, cols: usize, panels: Bytes) -> Option<Blocks> {
        /// Far beyond any matrix, and small enough that no product overflows.
        const MOST: usize = 1 << 28;
        let fits = (1..MOST).contains(&rows) && (1..MOST).contains(&cols) && cols.is_multiple_of(format.block_len());
        if !fits {
            return None;
        }
        let expected = pack::group_bytes(format, cols)?.checked_mul(rows.div_ceil(GROUP));
        (expected == Some(panels.len())).then_some(Blocks { format, rows, cols, panels })
    }

    pub(super) fn format(&self) -> Format {
        self.format
    }

    pub(super) fn panels(&self) -> &Bytes {
        &self.panels
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn cols(&self) -> usize {
        self.cols
    }

    pub(super) fn bytes(&self) -> usize {
        self.panels.len()
    }

    pub(super) fn groups(&self) -> usize {
        self.rows.div_ceil(GROUP)
    }

    pub(super) fn form(&self) -> Form {
        match self.format {
            Format::Q8_0 | Format::Q4_0 | Format::Q2_0 | Format::Q2_0_G128 => Form::Block32,
            _ => Form::Block256,
        }
    }

    fn group(&self, g: usize) -> &[u8] {
        let len = self.panels.len() / self.groups();
        &self.panels[g * len..][..len]
    }
}

/// Asks for a panel ahead of its products: for one token all of it, for more its scales, from `scales` on.
#[inline(always)]
fn ask_for<K: Kernel, const T: usize>(kernel: K, group: &[u8], at: usize, scales: usize, size: usize) {
    let first = if T == 1 { 0 } else { scales };
    for line in group.get(at + first..at + size).unwrap_or_default().as_chunks::<64>().0 {
        kernel.prefetch(line);
    }
}

/// The product of some row groups with all tokens.
pub(super) struct Product<'a> {
    pub(super) weights: &'a Blocks,
    pub(super) groups: Range<usize>,
    pub(super) x: &'a Quantised,
    pub(super) y: Output<'a>,
}

impl Task for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) {
        match self.weights.format {
            Format::Q4_K => self.superblocks::<K, Super4>(kernel),
            Format::Q5_K => self.superblocks::<K, Super5>(kernel),
            Format::Q6_K => self.superblocks::<K, Super6>(kernel),
            Format::TQ1_0 | Format::TQ2_0 => self.superblocks::<K, SuperTernary>(kernel),
            Format::Q8_0 => self.small_blocks::<K, Small8>(kernel),
            Format::Q4_0 => self.small_blocks::<K, Small4>(kernel),
            Format::Q2_0 | Format::Q2_0_G128 => self.small_blocks::<K, Small2>(kernel),
            Format::F32 | Format::F16 | Format::BF16 | Format::I2_S => unreachable!("refused by Blocks::new"),
        }
    }
}

impl Product<'_> {
    #[inline(always)]
    fn superblocks<K: Kernel, P: Panel>(&self, kernel: K) {
        for g in self.groups.clone() {
            // Many tokens share one unpacking of the weights; the rest goes by smaller tiles.
            let mut t = 0;
            while t < self.y.tokens() {
                t += match self.y.tokens() - t {
                    8.. => self.superblock_tile::<K, P, 8>(kernel, g, t),
                    4.. => self.superblock_tile::<K, P, 4>(kernel, g, t),
                    2.. => self.superblock_tile::<K, P, 2>(kernel, g, t),
                    _ => self.superblock_tile::<K, P, 1>(kernel, g, t),
                };
            }
        }
    }

    #[inline(always)]
    fn superblock_tile<K: Kernel, P: Panel, const T: usize>(&self, kernel: K, g: usize, t: usize) -> usize {
        let x: [Row; T] = std::array::from_fn(|i| self.x.row(t + i));
        let mut y = [[0f32; GROUP]; T];
        let group = self.weights.group(g);
        for (b, panel) in group.chunks_exact(P::SIZE).enumerate() {
            // Scales stand behind the codes and are wanted with the first of them, and one token leaves little time.
            ask_for::<K, T>(kernel, group, (b + 1) * P::SIZE, P::SCALES_AT, P::SIZE);
            let q = std::array::from_fn(|i| &x[i].q.as_chunks::<256>().0[b]);
            let sums = std::array::from_fn(|i| &x[i].sums.as_chunks::<16>().0[b]);
            let out = kernel.panel::<P, T>(panel, q, sums);
            let d = kernel.store(kernel.load_f16(&panel[P::D_AT..].as_chunks().0[0]));
            for i in 0..T {
                let dx = x[i].scale[b];
                for r in 0..GROUP {
                    y[i][r] = (d[r] * dx).mul_add(out[i].scaled[r] as f32, y[i][r]);
                    if P::BIAS.is_none() {
                        y[i][r] = (-(d[GROUP + r] * dx)).mul_add(out[i].offset[r] as f32, y[i][r]);
                    }
                }
            }
        }
        self.write(g, t, y)
    }

    #[inline(always)]
    fn small_blocks<K: Kernel, P: SmallPanel>(&self, kernel: K) {
        for g in self.groups.clone() {
            let mut t = 0;
            while t < self.y.tokens() {
                t += match self.y.tokens() - t {
                    8.. => self.small_block_tile::<K, P, 8>(kernel, g, t),
                    4.. => self.small_block_tile::<K, P, 4>(kernel, g, t),
                    2.. => self.small_block_tile::<K, P, 2>(kernel, g, t),
                    _ => self.small_block_tile::<K, P, 1>(kernel, g, t),
                };
            }
        }
    }

    #[inline(always)]
    fn small_block_tile<K: Kernel, P: SmallPanel, const T: usize>(&self, kernel: K, g: usize, t: usize) -> usize {
        let x: [Row; T] = std::array::from_fn(|i| self.x.row(t + i));
        let mut y = [[0f32; GROUP]; T];
        let group = self.weights.group(g);
        for (b, panel) in group.chunks_exact(P::SIZE).enumerate() {
            ask_for::<K, T>(kernel, group, (b + 2) * P::SIZE, 2 * P::CODES, P::SIZE);
            let d = kernel.store(kernel.load_f16(&panel[2 * P::CODES..].as_chunks().0[0]));
            for half in 0..2 {
                let block = 2 * b + half;
                if block * 32 >= self.weights.cols {
                    break;
                }
                let q = std::array::from_fn(|i| &x[i].q.as_chunks::<32>().0[block]);
                let sums = std::array::from_fn(|i| {
                    let [a, b] = x[i].sums.as_chunks::<2>().0[block];
                    i32::from(a) + i32::from(b)
                });
                let out = kernel.small_panel::<P, T>(&panel[half * P::CODES..][..P::CODES], q, sums);
                for i in 0..T {
                    let dx = x[i].scale[block];
                    for r in 0..GROUP {
                        y[i][r] = (d[GROUP * half + r] * dx).mul_add(out[i][r] as f32, y[i][r]);
                    }
                }
            }
        }
        self.write(g, t, y)
    }

    #[inline(always)]
    fn write<const T: usize>(&self, g: usize, t: usize, y: [[f32; GROUP]; T]) -> usize {
        let rows = GROUP.min(self.weights.rows - g * GROUP);
        for (i, y) in y.iter().enumerate() {
            self.y.write_some(t + i, g * GROUP, y, rows);
        }
        T
    }
}
