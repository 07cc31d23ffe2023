//! `loco prepare`.

use super::{Base, Weights};
use crate::base;
use crate::host::tune;
use crate::kernel::Compute;
use crate::model::{Packing, prepare};
use anyhow::Result;
use std::time::Instant;

/// Keeps a base's weights on the disk as this machine reads them.
///
/// The file is written beside the base's, with `.loco` added to its name, and mapped by commands that run the base with the same --head,
/// --layout and --zeros: they start sooner, and peak memory is what the base needs. It is never needed for a right answer, and may be
/// deleted at any time.
#[derive(Debug, clap::Args)]
pub(crate) struct Command {
    #[command(flatten)]
    base: Base,
    #[command(flatten)]
    weights: Weights,
    /// Print what was done as JSON.
    #[arg(long)]
    json: bool,
}

impl Command {
    pub(crate) fn run(self) -> Result<()> {
        let file = base::open(self.base.model.as_deref())?;
        let mut compute = Compute::new(self.base.isa, self.base.threads)?;
        let best = tune(&mut compute, &file, self.base.threads.is_some());
        let packing = Packing {
            head: self.weights.head,
            layout: self.weights.layout.unwrap_or(best.layout),
            skip_zeros: self.weights.skip_zeros().unwrap_or(best.skip_zeros),
        };
        let start = Instant::now();
        let done = prepare(&file, packing)?;
        if self.json {
            let what = serde_json::json!({
                "path": done.path, "bytes": done.bytes, "matrices": done.matrices,
                "layout": packing.layout, "seconds": start.elapsed().as_secs_f64(),
            });
            println!("{what}");
            return Ok(());
        }
        println!(
            "{}: {} matrices, {:.1} MB, {} layout, in {:.1} s",
            done.path.display(),
            done.matrices,
            done.bytes as f64 / 1e6,
            packing.layout,
            start.elapsed().as_secs_f64()
        );
        Ok(())
    }
}
