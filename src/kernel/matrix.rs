//! Weight matrices in the forms that the kernels read.

use super::blocks::Blocks;
use super::float::Floats;
use super::ternary::{Layout, Ternary};
use super::{Error, shape};
use crate::gguf::Bytes;
use crate::quant::{self, Format};
use half::f16;

/// A weight matrix `[rows, cols]` in a form that the kernels read.
#[derive(Debug)]
pub struct Matrix(pub(super) Form);

/// A matrix as the kernels read it.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Packed {
    Ternary { layout: Layout, scale: f32, bytes: Bytes },
    Blocks { format: Format, bytes: Bytes },
}

#[derive(Debug)]
pub(super) enum Form {
    Ternary(Ternary),
    Blocks(Blocks),
    Floats(Floats),
}

/// The same expression for each form.
macro_rules! of {
    ($matrix:expr, $form:ident => $value:expr) => {
        match &$matrix.0 {
            Form::Ternary($form) => $value,
            Form::Blocks($form) => $value,
            Form::Floats($form) => $value,
        }
    };
}

impl Matrix {
    /// A matrix from a file's bytes (row-major blocks, as GGUF stores them), which are kept, not copied.
    /// Ternary formats whose blocks all carry one scale become exact ternary matrices (int8 absmax activations) in
    /// an own layout; `Q2_0`, `TQ*` with several scales stay block formats (int8 activation blocks).
    ///
    /// # Errors
    /// [`Error::Shape`] if `cols` is not a whole number of blocks, `bytes` has the wrong length, `I2_S` or
    /// `TQ2_0` data holds the code 3, or the scale of a block is infinite or NaN.
    pub fn from_format(format: Format, rows: usize, cols: usize, bytes: Bytes) -> Result<Matrix, Error> {
        Self::from_format_in(Layout::Panels, format, rows, cols, bytes)
    }

    /// The same, a ternary matrix in `layout`.
    ///
    /// # Errors
    /// As [`Matrix::from_format`].
    pub fn from_format_in(
        layout: Layout,
        format: Format,
        rows: usize,
        cols: usize,
        bytes: Bytes,
    ) -> Result<Matrix, Error> {
        Table::check(format, rows, cols, &bytes)?;
        if let Some(ternary) = Ternary::from_format(format, rows, cols, &bytes, layout)? {
            return Ok(Matrix(Form::Ternary(ternary)));
        }
        if let Some(floats) = Floats::new(format, rows, cols, bytes.clone()) {
            return Ok(Matrix(Form::Floats(floats)));
        }
        match Blocks::new(format, rows, cols, &bytes) {
            Some(blocks) => Ok(Matrix(Form::Blocks(blocks))),
            None => Err(shape(format!("no kernels for {format:?}"))),
        }
    }

    /// A matrix from a table whose values are rounded to another block format (as [`quant::quantize`] does it). `done` hears
    /// which of its rows are not read again.
    ///
    /// # Errors
    /// [`Error::Shape`] if `format` is not a block format, rows are not a whole number of its blocks, or a value is infinite or NaN.
    pub fn rounded(format: Format, table: &Table, done: &dyn Fn(std::ops::Range<usize>)) -> Result<Matrix, Error> {
        let (rows, cols) = (table.rows(), table.cols());
        if !cols.is_multiple_of(format.block_len()) {
            return Err(shape(format!("rows of {cols} values cannot be rounded to {format:?}")));
        }
        match Blocks::rounded(format, table, done)? {
            Some(blocks) => Ok(Matrix(Form::Blocks(blocks))),
            None => Err(shape(format!("{rows} × {cols} values cannot be rounded to {format:?}"))),
        }
    }

    /// A ternary matrix from codes −1, 0, 1 (`codes[row * cols + col]`), any `cols`.
    ///
    /// # Panics
    /// If the codes are others, not `rows * cols` of them, or `cols` is above 2¹⁸.
    pub fn ternary(codes: &[i8], rows: usize, cols: usize, scale: f32) -> Matrix {
        Self::ternary_in(Layout::Panels, codes, rows, cols, scale)
    }

    /// The same in `layout`.
    ///
    /// # Panics
    /// As [`Matrix::ternary`].
    pub fn ternary_in(layout: Layout, codes: &[i8], rows: usize, cols: usize, scale: f32) -> Matrix {
        Matrix(Form::Ternary(Ternary::from_codes(codes, rows, cols, scale, layout)))
    }

    /// The matrix as the kernels read it, to be kept; `None` if they read the file's own bytes.
    pub fn packed(&self) -> Option<Packed> {
        match &self.0 {
            Form::Ternary(m) => {
                Some(Packed::Ternary { layout: m.layout(), scale: m.scale(), bytes: m.packed().clone() })
            }
            Form::Blocks(m) => Some(Packed::Blocks { format: m.format(), bytes: m.panels().clone() }),
            Form::Floats(_) => None,
        }
    }

    /// A matrix from what [`Matrix::packed`] gave.
    ///
    /// # Errors
    /// [`Error::Shape`] if the bytes have not the length that they should.
    pub fn from_packed(rows: usize, cols: usize, packed: Packed) -> Result<Matrix, Error> {
        let (matrix, len) = match packed {
            Packed::Ternary { layout, scale, bytes } => {
                let len = bytes.len();
                (Ternary::from_packed(rows, cols, scale, layout, bytes).map(Form::Ternary), len)
            }
            Packed::Blocks { format, bytes } => {
                let len = bytes.len();
                (Blocks::from_packed(format, rows, cols, bytes).map(Form::Blocks), len)
            }
        };
        let wrong = || shape(format!("{len} packed bytes do not make a {rows} × {cols} matrix"));
        matrix.map(Matrix).ok_or_else(wrong)
    }

    /// Where a ternary matrix keeps its codes.
    pub fn layout(&self) -> Option<Layout> {
        match &self.0 {
            Form::Ternary(m) => Some(m.layout()),
            _ => None,
        }
    }

    /// Output length.
    pub fn rows(&self) -> usize {
        of!(self, m => m.rows())
    }
    /// Input length.
    pub fn cols(&self) -> usize {
        of!(self, m => m.cols())
    }
    /// Bytes read for one product with the whole matrix.
    pub fn bytes(&self) -> usize {
        of!(self, m => m.bytes())
    }
    /// Whether products read the bytes it was made from, and not a copy in another layout.
    pub fn reads_the_file(&self) -> bool {
        matches!(self.0, Form::Floats(_))
    }
    /// Whether the exact ternary path is taken.
    pub fn is_ternary(&self) -> bool {
        matches!(self.0, Form::Ternary(_))
    }
}

/// A matrix whose rows are looked up and not multiplied: an embedding. It keeps the file's bytes, of which a look-up touches
/// one row.
#[derive(Debug)]
pub struct Table {
    format: Format,
    rows: usize,
    cols: usize,
    bytes: Bytes,
}

impl Table {
    /// A table from a file's bytes (row-major blocks, as GGUF stores them), which are kept, not copied.
    ///
    /// # Errors
    /// [`Error::Shape`] if `cols` is not a whole number of blocks, `bytes` has the wrong length, or the scale of a block is
    /// infinite or NaN.
    pub fn new(format: Format, rows: usize, cols: usize, bytes: Bytes) -> Result<Table, Error> {
        Self::check(format, rows, cols, &bytes)?;
        Ok(Table { format, rows, cols, bytes })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }
    /// Row length.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// One row as f32.
    ///
    /// # Panics
    /// If there is no such row, or `out` is not `cols` long.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        assert_eq!(out.len(), self.cols, "room for a row of {}", self.cols);
        quant::dequantize_rows(self.format, &self.bytes, self.cols, row, out);
    }

    fn check(format: Format, rows: usize, cols: usize, bytes: &[u8]) -> Result<(), Error> {
        let len = format.block_len();
        if !cols.is_multiple_of(len) {
            return Err(shape(format!("{format:?} rows of {cols} values: not a multiple of {len}")));
        }
        let expected = rows.checked_mul(cols).and_then(|values| format.tensor_bytes(values));
        if expected != Some(bytes.len()) {
            let len = bytes.len();
            return Err(shape(format!(
                "{len} bytes for a {format:?} matrix of {rows} × {cols}, {expected:?} expected"
            )));
        }
        check_scales(format, cols / len, bytes)
    }
}

/// Fails if the scale of a block is not finite: all products with its row would be NaN.
fn check_scales(format: Format, blocks_per_row: usize, bytes: &[u8]) -> Result<(), Error> {
    if format.scales_at().is_empty() {
        return Ok(());
    }
    for (i, block) in bytes.chunks_exact(format.block_bytes()).enumerate() {
        for &at in format.scales_at() {
            let scale = f16::from_le_bytes([block[at], block[at + 1]]);
            if !scale.is_finite() {
                let (row, block) = (i / blocks_per_row, i % blocks_per_row);
                return Err(shape(format!("{format:?} block {block} of row {row} has the scale {scale}")));
            }
        }
    }
    Ok(())
}
