//! Where in a panel its codes and scales are.
//!
//! A *panel* is 16 rows of 256 columns (superblock formats) or of 64 columns (formats of small blocks), interleaved so that a
//! 32-bit lane of a 64-byte vector belongs to a row, as in a packed ternary group ([`crate::kernel::ternary`]):
//!
//! ```text
//! vector v of 32 columns     byte 4r .. 4r+3, r = 0..16
//! low nibbles                columns 8v   .. 8v+3     of row r
//! high nibbles               columns 8v+4 .. 8v+7     of row r
//! ```
//!
//! Codes of five or six bits have their upper ones behind the four vectors of each 32 columns: field k of one vector of 1-bit fields, or
//! field k mod 4 of one of two vectors of 2-bit fields, belongs to columns 4k .. 4k+3. Codes of eight bits are bytes: vector k
//! holds columns 4k .. 4k+3.
//!
//! One load thus brings 16 rows, one byte product adds four columns of each, four activations serve all, and no sum is ever taken
//! across lanes.

use crate::kernel::isa::{Panel, SmallPanel};

/// `Q4_K`.
#[derive(Debug, Clone, Copy)]
pub(in crate::kernel) struct Super4;
impl Panel for Super4 {
    const HIGH: usize = 0;
    const FINE: bool = false;
    const BIAS: Option<i32> = None;
}

/// `Q5_K`.
#[derive(Debug, Clone, Copy)]
pub(in crate::kernel) struct Super5;
impl Panel for Super5 {
    const HIGH: usize = 1;
    const FINE: bool = false;
    const BIAS: Option<i32> = None;
}

/// `Q6_K`.
#[derive(Debug, Clone, Copy)]
pub(in crate::kernel) struct Super6;
impl Panel for Super6 {
    const HIGH: usize = 2;
    const FINE: bool = true;
    const BIAS: Option<i32> = Some(32);
}

/// `TQ1_0` and `TQ2_0` with several scales.
#[derive(Debug, Clone, Copy)]
pub(in crate::kernel) struct SuperTernary;
impl Panel for SuperTernary {
    const HIGH: usize = 0;
    const FINE: bool = false;
    const BIAS: Option<i32> = Some(1);
}

/// `Q8_0`.
#[derive(Debug, Clone, Copy)]
pub(in crate::kernel) struct Small8;
impl SmallPanel for Small8 {
    const BYTES: bool = true;
    const BIAS: i32 = 128;
}

/// `Q4_0`.
#[derive(Debug, Clone, Copy)]
pub(in crate::kernel) struct Small4;
impl SmallPanel for Small4 {
    const BYTES: bool = false;
    const BIAS: i32 = 8;
}

/// `Q2_0` with several scales.
#[derive(Debug, Clone, Copy)]
pub(in crate::kernel) struct Small2;
impl SmallPanel for Small2 {
    const BYTES: bool = false;
    const BIAS: i32 = 1;
}
