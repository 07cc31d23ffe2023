//! LocoLLM-1bit: an offline LLM appliance.
//!
//! One engine that runs natively ternary (1.58-bit) and 4-bit bases from GGUF files, and a
//! local-network chat service around it. `ARCHITECTURE.md` shows the way of one question through
//! the modules below; each stands only on those listed after it.

pub mod cli;
pub mod serve;

pub mod host;

pub mod base;
pub mod bench;
pub mod convert;
pub mod engine;
pub mod meter;
pub mod score;

pub mod model;

pub mod text;

pub mod kernel;

pub mod gguf;
pub mod quant;

#[cfg(test)]
mod testing;
