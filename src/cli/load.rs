//! Loads the base that `--model` names, for the commands that talk.

use super::{Base, Weights};
use crate::host::{LoadedBase, Options};
use crate::{base, engine};
use anyhow::Context;

impl Base {
    /// Loads the base and starts its engine.
    pub(crate) fn load(&self, weights: &Weights, engine: engine::Options) -> anyhow::Result<LoadedBase> {
        let file = base::open(self.model.as_deref())?;
        let options = Options {
            isa: self.isa,
            threads: self.threads,
            head: weights.head,
            layout: weights.layout,
            skip_zeros: weights.skip_zeros(),
            engine,
        };
        LoadedBase::load(&file, options).with_context(|| format!("cannot load {}", file.name()))
    }
}
