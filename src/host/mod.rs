//! A base that is loaded and running: all that a conversation needs, in a terminal or over a network.

mod history;
mod knobs;
mod tuning;

pub use history::{Conversation, fit};
pub use knobs::{Knobs, random_seed};
pub use tuning::{Best, tune};

use crate::engine::{self, Engine, Request, Sampling};
use crate::kernel::{self, Compute, Layout};
use crate::model::{self, CompactHead, Model, Packing};
use crate::quant::Format;
use crate::text::{self, ChatTemplate, Message, Token, Tokenizer};
use crate::{base, gguf};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// How to run a base.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Instruction set; the best there is if `None`.
    pub isa: Option<kernel::Isa>,
    /// Threads; all physical cores if `None`.
    pub threads: Option<usize>,
    /// The compact output head.
    pub head: CompactHead,
    /// Layout of ternary weights; the faster one, measured once on this machine, if `None`.
    pub layout: Option<Layout>,
    /// Whether squared-ReLU layers skip what is multiplied by zero; as it is faster on this machine if `None`.
    pub skip_zeros: Option<bool>,
    /// The engine's sizes.
    pub engine: engine::Options,
}

/// Why a base could not be loaded, or a conversation not be put to it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tokenizer cannot be made.
    #[error(transparent)]
    Tokenizer(text::Error),
    /// The network.
    #[error(transparent)]
    Model(#[from] model::Error),
    /// The kernels.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// The base has no chat template that works, so it continues texts but does not converse.
    #[error("this base cannot chat: {0}")]
    NoTemplate(String),
    /// The template will not have these messages.
    #[error("{}", first_line(&.0.to_string()))]
    Template(text::Error),
}

/// A base that is loaded and running.
#[derive(Debug)]
pub struct LoadedBase {
    /// What clients call it.
    pub id: String,
    /// Whether it is the demo base that is part of the program.
    pub demo: bool,
    /// The engine that runs it.
    pub engine: Engine,
    /// Its chat template, or why it has none, in one line.
    pub template: Result<ChatTemplate, String>,
    /// What there is to say about it.
    pub facts: Facts,
}

/// What there is to say about a base.
#[derive(Debug, Clone)]
pub struct Facts {
    /// GGUF architecture.
    pub arch: String,
    /// The file's own name for the model.
    pub name: Option<String>,
    /// Number of weights.
    pub parameters: usize,
    /// Bytes of all tensors.
    pub bytes: usize,
    /// The format that most weights have.
    pub format: &'static str,
    /// Whether every linear layer is ternary.
    pub ternary: bool,
    /// Longest sequence it was trained for.
    pub trained_context: usize,
    /// Tells bases apart: SHA-256 over metadata, shapes, and the first bytes of each tensor.
    pub digest: String,
    /// When the file was last changed (for the embedded base: when it was loaded).
    pub modified: SystemTime,
    /// Instruction set in use.
    pub isa: kernel::Isa,
    /// Threads in use.
    pub threads: usize,
    /// How long loading took.
    pub load_time: Duration,
}

impl LoadedBase {
    /// Loads the base in `file` and starts its engine.
    pub fn load(file: &gguf::File, options: Options) -> Result<Self, Error> {
        let started = Instant::now();
        let mut compute = Compute::new(options.isa, options.threads)?;
        let best = tune(&mut compute, file, options.threads.is_some());
        let packing = Packing {
            head: options.head,
            layout: options.layout.unwrap_or(best.layout),
            skip_zeros: options.skip_zeros.unwrap_or(best.skip_zeros),
        };
        let (isa, threads) = (compute.isa(), compute.threads());
        let tokenizer = Arc::new(Tokenizer::from_gguf(file).map_err(Error::Tokenizer)?);
        let template = ChatTemplate::of(&tokenizer).map_err(|e| first_line(&e.to_string()));
        let model = Arc::new(Model::load_with(file, packing)?);
        let facts = Facts {
            arch: model.config.arch.clone(),
            name: model.config.name.clone(),
            parameters: model.parameters(),
            bytes: file.tensors().iter().map(|t| file.bytes(t).len()).sum(),
            format: shares(file).iter().max_by_key(|s| s.values).map_or("none", |s| s.format.name()),
            ternary: model.is_ternary(),
            trained_context: model.config.context,
            digest: digest(file),
            modified: modified(file),
            isa,
            threads,
            load_time: started.elapsed(),
        };
        let engine = Engine::start(model, tokenizer, compute, options.engine);
        Ok(Self { id: base::id(file), demo: base::is_demo(file), engine, template, facts })
    }

    /// How tokens are chosen where nobody says: greedily for the demo base, which knows one answer to a question,
    /// and with a little variation for bases that loop without it.
    pub fn default_sampling(&self) -> Sampling {
        Sampling { temperature: if self.demo { 0.0 } else { 0.7 }, ..Sampling::default() }
    }

    /// The tokens of a conversation. `reserve` tokens of the context are kept free for the answer, at most a
    /// quarter of it, by leaving out the oldest turns; `None` leaves out nothing.
    pub fn encode(&self, messages: &[Message], reserve: Option<usize>) -> Result<Conversation, Error> {
        let template = self.template.as_ref().map_err(|why| Error::NoTemplate(why.clone()))?;
        let tokenizer = self.engine.tokenizer();
        let conversation = match reserve {
            Some(reserve) => {
                let context = self.engine.context();
                fit(template, tokenizer, messages, context - reserve.min(context / 4))
            }
            None => template.encode(tokenizer, messages).map(|tokens| Conversation { tokens, dropped: 0 }),
        };
        conversation.map_err(Error::Template)
    }

    /// An engine request, with `defaults` where `knobs` says nothing. Log-probabilities are off.
    pub fn request(&self, prompt: Vec<Token>, knobs: &Knobs, defaults: &Sampling, seed: u64) -> Request {
        Request {
            prompt,
            // The engine ends an answer where the context does.
            max_tokens: knobs.max_tokens.unwrap_or(self.engine.context()),
            sampling: knobs.sampling(defaults, seed),
            stop: knobs.stop.clone(),
            stop_tokens: Vec::new(),
            ignore_end: false,
            logprobs: None,
            prompt_logprobs: None,
        }
    }

    /// One line about the base: "demo: 5.5 M weights, bitnet-b1.58, ternary (I2_S), 2.9 MB".
    pub fn summary(&self) -> String {
        let f = &self.facts;
        let ternary = if f.ternary { "ternary, " } else { "" };
        let megabytes = f.bytes as f64 / 1e6;
        format!(
            "{}: {} weights, {}, {ternary}{}, {megabytes:.1} MB",
            self.id,
            short_count(f.parameters),
            f.arch,
            f.format
        )
    }
}

/// A number of weights as people write it: `5.5M`, `2.4B`.
pub(crate) fn short_count(count: usize) -> String {
    match count {
        0..1_000 => count.to_string(),
        1_000..1_000_000 => format!("{:.0}K", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1}M", count as f64 / 1e6),
        _ => format!("{:.1}B", count as f64 / 1e9),
    }
}

/// The template engine's reports show the template's source below their first line.
fn first_line(report: &str) -> String {
    report.lines().next().unwrap_or_default().trim_end_matches(':').to_string()
}

/// Tensors of one format together.
#[derive(Debug)]
pub(crate) struct Share {
    /// Their format.
    pub(crate) format: Format,
    /// How many they are.
    pub(crate) tensors: usize,
    /// Their values.
    pub(crate) values: usize,
    /// Their bytes.
    pub(crate) bytes: usize,
}

/// What a file is made of, the format with most bytes first.
pub(crate) fn shares(file: &gguf::File) -> Vec<Share> {
    let mut shares: Vec<Share> = Vec::new();
    for tensor in file.tensors() {
        let (values, bytes) = (tensor.values(), tensor.range().len());
        match shares.iter_mut().find(|s| s.format == tensor.format) {
            Some(s) => {
                s.tensors += 1;
                s.values += values;
                s.bytes += bytes;
            }
            None => shares.push(Share { format: tensor.format, tensors: 1, values, bytes }),
        }
    }
    shares.sort_by_key(|s| std::cmp::Reverse(s.bytes));
    shares
}

/// Tells files apart without reading all of a large one.
fn digest(file: &gguf::File) -> String {
    /// Bytes that are looked at per tensor.
    const SAMPLE: usize = 4096;
    let mut hash = Sha256::new();
    for (key, value) in file.metadata() {
        hash.update(key.as_bytes());
        hash.update(format!("{value:?}").as_bytes());
    }
    for tensor in file.tensors() {
        hash.update(format!("{tensor:?}").as_bytes());
        let bytes = file.bytes(tensor);
        hash.update(&bytes[..bytes.len().min(SAMPLE)]);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn modified(file: &gguf::File) -> SystemTime {
    std::fs::metadata(Path::new(file.name())).and_then(|m| m.modified()).unwrap_or_else(|_| SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::short_count;

    #[test]
    fn weights_are_counted_as_people_do() {
        assert_eq!(short_count(260_000), "260K");
        assert_eq!(short_count(5_505_024), "5.5M");
        assert_eq!(short_count(2_412_820_480), "2.4B");
    }
}
