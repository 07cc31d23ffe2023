//! The command line: one file per subcommand, parsing and printing only.

mod bench;
mod chat;
mod import;
mod inspect;
mod load;
mod logger;
mod logits;
mod perplexity;
mod prepare;
mod quantize;
mod query;
mod serve;
mod talk;
mod terminal;
mod tokenize;

use crate::model::CompactHead;
use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand};
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(
    name = "loco",
    version,
    about = "Offline LLM appliance: natively ternary and 4-bit bases on small machines",
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Without a subcommand `loco` serves, with these settings.
    #[command(flatten)]
    serve: serve::Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve a chat page and OpenAI- and Ollama-compatible endpoints (the default).
    Serve(serve::Command),
    /// Talk with a base in the terminal.
    Chat(chat::Command),
    /// Ask one question.
    Query(query::Command),
    /// Show what is in a model file.
    Inspect(inspect::Command),
    /// Turn a Hugging Face safetensors folder into a GGUF file.
    Import(import::Command),
    /// Make a smaller GGUF file.
    Quantize(quantize::Command),
    /// Keep a base's weights on the disk as this machine reads them, for a fast start in little memory.
    Prepare(prepare::Command),
    /// Text to token ids and back.
    Tokenize(tokenize::Command),
    /// Write the logits of every position.
    Logits(logits::Command),
    /// Measure the perplexity of a text.
    Perplexity(perplexity::Command),
    /// Measure how fast this machine runs a base.
    Bench(bench::Command),
}

/// More threads than any machine has cores.
const MOST_THREADS: u64 = 1024;

/// Takes whole numbers in a range.
fn between(range: std::ops::RangeInclusive<u64>) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(range)
}

/// Which base, and how to run it.
#[derive(Debug, Clone, Args)]
pub(crate) struct Base {
    /// A GGUF file, an installed base's name, or `demo`.
    #[arg(long, short, value_name = "FILE|NAME", env = "LOCO_MODEL")]
    pub(crate) model: Option<String>,
    /// Threads [default: all physical cores].
    #[arg(long, short, value_name = "N", value_parser = between(1..=MOST_THREADS))]
    pub(crate) threads: Option<usize>,
    /// Force a set of kernels.
    #[arg(long)]
    pub(crate) isa: Option<crate::kernel::Isa>,
}

/// How weights are kept in memory.
#[derive(Debug, Clone, Args)]
pub(crate) struct Weights {
    /// Output head that chooses tokens. Log-probabilities, and the tokens of requests that ask for them, come from the file's own.
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    pub(crate) head: CompactHead,
    /// Layout of ternary weights [default: the faster one on this machine, measured once].
    #[arg(long, value_name = "LAYOUT")]
    pub(crate) layout: Option<crate::kernel::Layout>,
    /// What squared-ReLU layers do with weights that are multiplied by zero; no answer changes [default: the faster one on this machine,
    /// measured once].
    #[arg(long, value_name = "WHAT")]
    pub(crate) zeros: Option<Zeros>,
}

/// What to do with weights that are multiplied by zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Zeros {
    /// They are not read, where one sequence alone is decoded.
    Skip,
    /// They are read and multiplied as all others.
    Read,
}

impl Weights {
    /// Whether zeros are skipped, if that was said.
    pub(crate) fn skip_zeros(&self) -> Option<bool> {
        self.zeros.map(|zeros| zeros == Zeros::Skip)
    }
}

/// Runs the command line and returns the exit code: 0 only if what was asked for was done.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    logger::start();
    let done = match cli.command {
        None => cli.serve.run(),
        Some(Command::Serve(c)) => c.run(),
        Some(Command::Chat(c)) => c.run(),
        Some(Command::Query(c)) => c.run(),
        Some(Command::Inspect(c)) => c.run(),
        Some(Command::Import(c)) => c.run(),
        Some(Command::Quantize(c)) => c.run(),
        Some(Command::Prepare(c)) => c.run(),
        Some(Command::Tokenize(c)) => c.run(),
        Some(Command::Logits(c)) => c.run(),
        Some(Command::Perplexity(c)) => c.run(),
        Some(Command::Bench(c)) => c.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("loco: {}", terminal::printable(&format!("{e:#}")));
            ExitCode::FAILURE
        }
    }
}
