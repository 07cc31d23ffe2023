//! Ternary matrices: 2-bit or three-in-five-bit codes, int8 activations per token, exact i32 sums.
//!
//! `y = ((Σ code·q − Σ q) as f32) / s · scale`, in this order, in f32. Codes are 0, 1, 2 for the weights −1, 0, 1: unsigned,
//! as the byte-product instructions want them, and the 1 that is too much in each code is taken out once per row as `Σ q`.
//!
//! There are four layouts with the same products. Two are for matrices of which every weight is read: [`Layout::Panels`] and
//! [`Layout::Trits`]. Two are for feed-forward layers whose hidden values are mostly zero (squared ReLU): [`Layout::Rows`] can skip rows
//! of the matrix, [`Layout::Columns`] skips columns whose input is zero. See `pack` for where each code is.

mod bytes;
mod pack;
mod product;
mod source;
mod sparse;

pub(super) use pack::{GROUP, STEP, STEP_BYTES};
pub(super) use product::Product;
pub(super) use source::unpack_tq1_0;
pub(super) use sparse::{ColumnProduct, RowProduct};

use crate::gguf::Bytes;
use pack::Packer;

/// So that no i32 overflows in any kernel: the largest partial sum is 64 · 2 · 128 per four columns.
const MAX_COLS: usize = 1 << 18;
/// The same where each column has its own product: 64 · 2 · 128 per column.
const MAX_SPARSE_COLS: usize = 1 << 16;

/// Where a ternary matrix keeps its codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// 2 bits a weight, 16 rows interleaved.
    Panels,
    /// Three weights in 5 bits (1.67 bits a weight), 16 rows interleaved.
    Trits,
    /// 2 bits a weight, row by row: rows that nobody wants are not read.
    #[value(skip)]
    Rows,
    /// 2 bits a weight, column by column: columns whose input is zero are not read.
    #[value(skip)]
    Columns,
}

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Layout::Panels => "panels",
            Layout::Trits => "trits",
            Layout::Rows => "rows",
            Layout::Columns => "columns",
        })
    }
}

/// A packed ternary matrix.
#[derive(Debug)]
pub(super) struct Ternary {
    rows: usize,
    cols: usize,
    scale: f32,
    layout: Layout,
    packed: Bytes,
}

impl Ternary {
    /// Packs rows that `row(r, codes)` writes as codes 0..=2. A matrix too wide for [`Layout::Columns`] gets panels instead.
    fn pack(rows: usize, cols: usize, scale: f32, layout: Layout, row: impl Fn(usize, &mut [u8]) + Sync) -> Ternary {
        let layout = if layout == Layout::Columns && cols > MAX_SPARSE_COLS { Layout::Panels } else { layout };
        let packed = Bytes::new(Packer { rows, cols, layout, row }.pack());
        Ternary { rows, cols, scale, layout, packed }
    }

    /// See [`super::Matrix::ternary`].
    pub(super) fn from_codes(codes: &[i8], rows: usize, cols: usize, scale: f32, layout: Layout) -> Ternary {
        assert_eq!(codes.len(), rows * cols, "codes of a {rows} × {cols} matrix");
        assert!(cols <= MAX_COLS, "{cols} columns, at most {MAX_COLS}");
        Self::pack(rows, cols, scale, layout, |r, out| {
            for (out, code) in out.iter_mut().zip(&codes[r * cols..]) {
                assert!((-1..=1).contains(code), "ternary code {code}");
                *out = (code + 1) as u8;
            }
        })
    }

    /// A matrix that was packed before. `None` if `packed` has not the length that the shape and layout ask for, or the scale is not
    /// finite. Whatever the bytes are, products stay within their sums.
    pub(super) fn from_packed(rows: usize, cols: usize, scale: f32, layout: Layout, packed: Bytes) -> Option<Ternary> {
        let widest = if layout == Layout::Columns { MAX_SPARSE_COLS } else { MAX_COLS };
        let fits = rows > 0 && cols > 0 && cols <= widest && scale.is_finite();
        if !fits {
            return None;
        }
        let expected = pack::blocks(layout, rows).checked_mul(pack::block_bytes(layout, cols));
        (expected == Some(packed.len())).then_some(Ternary { rows, cols, scale, layout, packed })
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn cols(&self) -> usize {
        self.cols
    }

    pub(super) fn scale(&self) -> f32 {
        self.scale
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    pub(super) fn packed(&self) -> &Bytes {
        &self.packed
    }

    pub(super) fn bytes(&self) -> usize {
        self.packed.len()
    }

    /// Parts that products are split into: [`Ternary::block_rows`] rows each.
    pub(super) fn blocks(&self) -> usize {
        pack::blocks(self.layout, self.rows)
    }

    /// Rows of a part.
    pub(super) fn block_rows(&self) -> usize {
        pack::block_rows(self.layout)
    }

    fn block(&self, b: usize) -> &[u8] {
        let len = pack::block_bytes(self.layout, self.cols);
        &self.packed[b * len..][..len]
    }
}
