//! `loco perplexity`.

#[derive(Debug, clap::Args)]
pub(crate) struct Command {}

impl Command {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        todo!()
    }
}
