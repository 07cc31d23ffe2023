//! `loco bench`.

use super::{MOST_THREADS, Weights, between};
use crate::bench::{
    Bench, Decode, HeadCost, Memory, Plan, Prefill, SHAPES, Shape, Stability, TEXT, forget_peak, head_costs, memory,
    processor, read_bandwidth, synthetic_file,
};
use crate::kernel::{Compute, Isa, Layout, Threads, Tuning};
use crate::meter::Meter;
use crate::model::{Activation, KvFormat, Model, OutputHead, Packing};
use crate::{base, gguf};
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::time::{Duration, Instant};

/// Measures prefill and decode.
///
/// First the machine's own read bandwidth is measured, then the base. `--shape` makes up weights of a known base's true
/// sizes, in memory: nobody needs a download to see what a machine can do.
#[derive(Debug, clap::Args)]
pub(crate) struct Command {
    /// A known base with made-up weights, in place of --model.
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(SHAPES.iter().map(|s| s.name)))]
    shape: Option<String>,
    /// A GGUF file, an installed base's name, or `demo`.
    #[arg(long, short, value_name = "FILE|NAME", env = "LOCO_MODEL")]
    model: Option<String>,
    /// Threads [default: all physical cores].
    #[arg(long, short, value_name = "N", value_parser = between(1..=MOST_THREADS))]
    threads: Option<usize>,
    /// Force a set of kernels.
    #[arg(long)]
    isa: Option<Isa>,
    /// Tokens of the prompt.
    #[arg(long, default_value_t = 256, value_parser = between(1..=1 << 20))]
    prompt: usize,
    /// Tokens that each sequence generates.
    #[arg(long, default_value_t = 32, value_parser = between(1..=1 << 20))]
    generate: usize,
    /// Sequences decoded together.
    #[arg(long, default_value = "1,2,4,8,16,32", value_delimiter = ',', value_parser = between(1..=1024))]
    batch: Vec<usize>,
    /// Positions already in the context, with one sequence.
    #[arg(long, default_value = "1024,4096", value_delimiter = ',', value_parser = between(0..=1 << 20))]
    depth: Vec<usize>,
    /// Measurements of each row, of which the median is shown.
    #[arg(long, default_value_t = 3, value_parser = between(1..=1000))]
    repeat: usize,
    /// Number format of cached keys and values.
    #[arg(long, default_value = "q8")]
    kv: KvFormat,
    #[command(flatten)]
    weights: Weights,
    /// Share of the neurons of a made-up squared-ReLU base that are zero; random weights give 0.5.
    #[arg(long, value_name = "SHARE", value_parser = zeros, requires = "shape")]
    ffn_sparsity: Option<f64>,
    /// Instead, what compact output heads cost: the perplexity of a text with each.
    #[arg(long, conflicts_with_all = ["shape", "stability", "csv"])]
    heads: bool,
    /// The text for --heads, UTF-8 [default: 2.4 kB of English prose that are part of the program].
    #[arg(long, value_name = "FILE", requires = "heads")]
    text: Option<std::path::PathBuf>,
    /// Instead, a long conversation of this many turns, to see whether memory grows.
    #[arg(long, value_name = "TURNS", value_parser = between(2..=1 << 30))]
    stability: Option<usize>,
    /// One JSON document on standard output.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Comma-separated lines on standard output.
    #[arg(long, conflicts_with = "stability")]
    csv: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    /// Seconds since 1970.
    at: u64,
    processor: String,
    isa: String,
    threads: Threads,
    base: String,
    /// Whether the weights are made up.
    synthetic: bool,
    parameters: usize,
    /// Bytes of weights read per token.
    bytes_per_token: usize,
    kv: String,
    /// Format of the output head that chose tokens.
    head: &'static str,
    /// Layout of ternary weights that are all read.
    layout: Layout,
    /// Whether squared-ReLU layers skipped what is multiplied by zero.
    skip_zeros: bool,
    /// The share of zeros from which that is faster on this machine, above 1: it never is; of a squared-ReLU base.
    skip_from: Option<f64>,
    /// Bytes of the file; a made-up one takes as much memory, which is not in `memory`.
    file_bytes: usize,
    load_seconds: f64,
    /// Bytes per second.
    read_bandwidth: f64,
    prefill: Option<Prefill>,
    decode: Vec<Decode>,
    stability: Option<Stability>,
    memory: Option<Memory>,
    /// How energy was measured, if it was.
    energy: Option<&'static str>,
}

impl Command {
    pub(crate) fn run(self) -> Result<()> {
        let mut compute = Compute::new(self.isa, self.threads)?;
        if self.heads {
            return self.heads(&compute);
        }
        eprintln!("measuring the read bandwidth of {} threads …", compute.threads());
        let read_bandwidth = read_bandwidth(&compute, Duration::from_millis(500));
        eprintln!("measuring threads and layouts …");
        let all = compute.used_threads();
        let tuning = Tuning::measure(&mut compute)?;
        if self.threads.is_some() {
            compute.set_threads(all);
        }
        let packing = Packing {
            head: self.weights.head,
            layout: self.weights.layout.unwrap_or(tuning.layout),
            // A made-up base has the zeros that were asked for.
            skip_zeros: self.weights.skip_zeros().unwrap_or(
                tuning.skip_from <= self.ffn_sparsity.unwrap_or(if self.shape.is_some() { 0.5 } else { 0.75 }),
            ),
        };
        forget_peak();
        let file = self.file()?;
        let start = Instant::now();
        let model = Model::load_with(&file, packing).with_context(|| format!("cannot load {}", file.name()))?;
        let load_seconds = start.elapsed().as_secs_f64();
        let context = model.config.context;
        // What does not fit is measured as deep as it goes.
        let mut depths: Vec<usize> =
            self.depth.iter().map(|&depth| depth.min(context.saturating_sub(self.generate))).collect();
        depths.dedup();
        let plan = Plan {
            prompt: self.prompt.min(context),
            generate: self.generate,
            batches: self.batch.clone(),
            depths,
            repeats: self.repeat,
            kv: self.kv,
        };
        let mut bench = Bench::new(&model, &compute, &plan);
        let mut report = Report {
            version: env!("CARGO_PKG_VERSION"),
            at: std::time::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_secs()),
            processor: processor(),
            isa: compute.isa().to_string(),
            threads: compute.used_threads(),
            base: file.name().to_string(),
            synthetic: self.shape.is_some(),
            parameters: model.parameters(),
            bytes_per_token: model.bytes_per_token(OutputHead::Compact),
            kv: format!("{:?}", self.kv).to_lowercase(),
            head: model.head_format(OutputHead::Compact).name(),
            layout: packing.layout,
            skip_zeros: packing.skip_zeros,
            skip_from: (model.config.activation == Activation::SquaredRelu).then_some(tuning.skip_from),
            file_bytes: file.size(),
            load_seconds,
            read_bandwidth,
            prefill: None,
            decode: Vec::new(),
            stability: None,
            memory: None,
            energy: None,
        };
        if let Some(turns) = self.stability {
            eprintln!("{turns} turns …");
            report.stability = bench.stability(turns, context);
            ensure!(report.stability.is_some(), "the system does not tell how much memory a process takes");
        } else {
            eprintln!("prefill …");
            report.prefill = Some(bench.prefill());
            let mut rows: Vec<(usize, usize)> = self.batch.iter().map(|&batch| (batch, 0)).collect();
            rows.extend(
                plan.depths.iter().map(|&depth| (1, depth)).filter(|&row| row != (1, 0) || !self.batch.contains(&1)),
            );
            for (batch, depth) in rows {
                eprintln!("decode, batch {batch}, depth {depth} …");
                report.decode.push(bench.decode(batch, depth));
            }
        }
        report.memory = memory();
        report.energy = report.decode.iter().any(|d| d.joules_per_token.is_some()).then_some(Meter::METHOD);
        match (self.json, self.csv) {
            (true, _) => println!("{}", serde_json::to_string_pretty(&report)?),
            (_, true) => report.csv(),
            _ => report.table(),
        }
        Ok(())
    }

    fn file(&self) -> Result<gguf::File> {
        let Some(name) = &self.shape else {
            return Ok(base::open(self.model.as_deref())?);
        };
        let shape = Shape::named(name).context("clap lets only known shapes through")?;
        eprintln!("making weights …");
        Ok(synthetic_file(shape, self.ffn_sparsity)?)
    }

    /// What compact heads cost.
    fn heads(&self, compute: &Compute) -> Result<()> {
        let file = self.file()?;
        let text = match &self.text {
            Some(path) => &std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?,
            None => TEXT,
        };
        let costs = head_costs(&file, compute, Packing::default(), text)?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&costs)?);
            return Ok(());
        }
        let from = self.text.as_ref().map_or("the program's own text".into(), |path| path.display().to_string());
        println!("{}: {} tokens of {from}", file.name(), costs[0].scored);
        println!("head            MB   perplexity   against the file's own");
        for HeadCost { format, own, bytes, perplexity, .. } in &costs {
            let change = match own {
                true => "the file's own".to_string(),
                false => format!("{:+.2} %", (perplexity / costs[0].perplexity - 1.0) * 100.0),
            };
            println!("{format:<8} {:>9.1} {perplexity:>12.4}   {change}", *bytes as f64 / 1e6);
        }
        Ok(())
    }
}

/// A share of zeros that made-up gates can have.
fn zeros(text: &str) -> Result<f64, &'static str> {
    text.parse().ok().filter(|share| (0.5..=1.0).contains(share)).ok_or("it must be a number from 0.5 to 1")
}

/// Bytes as GB.
fn gb(bytes: f64) -> f64 {
    bytes / 1e9
}

impl Report {
    fn table(&self) {
        let made_up = if self.synthetic { "; speed only" } else { "" };
        let Threads { decode, prefill } = self.threads;
        println!("{}, {} kernels, threads: {decode} to decode, {prefill} for prompts", self.processor, self.isa);
        println!(
            "{}: {:.2} G weights, {:.3} GB read per token{made_up}",
            self.base,
            self.parameters as f64 / 1e9,
            gb(self.bytes_per_token as f64)
        );
        println!(
            "{} layout, head {}, keys and values {}; read bandwidth {:.1} GB/s, loaded in {:.1} s",
            self.layout,
            self.head,
            self.kv,
            gb(self.read_bandwidth),
            self.load_seconds
        );
        match self.skip_from {
            None => {}
            Some(share) if share > 1.0 => println!("skipping zeros never pays here"),
            Some(share) => println!("skipping zeros pays here from {:.0} % of them", share * 100.0),
        }
        if let Some(p) = &self.prefill {
            println!(
                "\nprefill {:>5} tokens  {:>9.1} tok/s   first token after {:.3} s ({:.3} to {:.3})",
                p.tokens, p.tokens_per_second, p.ttft.median, p.ttft.min, p.ttft.max
            );
        }
        if !self.decode.is_empty() {
            println!("\ndecode  batch  depth      tok/s   ms/step (min to max)         GB/s   of bandwidth   J/token");
        }
        for d in &self.decode {
            let share = d.weight_bytes_per_second / self.read_bandwidth * 100.0;
            let steps = format!("{:.2} ({:.2} to {:.2})", d.step.median * 1e3, d.step.min * 1e3, d.step.max * 1e3);
            let joules = d.joules_per_token.map_or("–".to_string(), |j| format!("{:.3}", j.0));
            println!(
                "       {:>6} {:>6} {:>10.2}   {steps:<26} {:>6.1} {share:>10.0} %   {joules:>7}",
                d.batch,
                d.depth,
                d.tokens_per_second,
                gb(d.weight_bytes_per_second)
            );
        }
        let mut open = self.decode.iter().filter_map(|d| Some((d.open?, d.weight_bytes)));
        if let Some((share, bytes)) = open.next() {
            println!(
                "        one sequence alone: {:.0} % of the neurons are open, {:.3} GB read per token",
                share * 100.0,
                gb(bytes as f64)
            );
        }
        match self.energy {
            Some(method) => println!("        energy: {method}"),
            None if self.decode.is_empty() => {}
            None => println!("        energy: this machine shows no counter"),
        }
        if let Some(s) = &self.stability {
            let [first, last] = s.resident.map(|b| b as f64 / 1e6);
            println!(
                "\n{} tokens: {first:.1} MB after the first turns, {last:.1} MB at the end; {:+.2} kB per 1,000 tokens",
                s.tokens,
                s.slope / 1e3
            );
        }
        if let Some(m) = self.memory {
            println!("\nmemory {:.3} GB, at most {:.3} GB", gb(m.resident as f64), gb(m.peak as f64));
            if self.synthetic {
                println!(
                    "       and {:.3} GB for the made-up file, which a real one would take on the disk",
                    gb(self.file_bytes as f64)
                );
            }
        }
    }

    fn csv(&self) {
        println!(
            "kind,batch,depth,tokens,tokens_per_second,seconds_min,seconds_median,seconds_max,weight_bytes_per_second,\
             joules_per_token,read_bandwidth,isa,threads,head,kv,base,synthetic,layout,skip_zeros"
        );
        let base = self.base.replace('"', "\"\"");
        let tail = format!(
            "{:.0},{},{},{},{},\"{base}\",{},{},{}",
            self.read_bandwidth,
            self.isa,
            self.threads.decode,
            self.head,
            self.kv,
            self.synthetic,
            self.layout,
            self.skip_zeros
        );
        if let Some(p) = &self.prefill {
            let t = p.ttft;
            println!("prefill,1,0,{},{},{},{},{},,,{tail}", p.tokens, p.tokens_per_second, t.min, t.median, t.max);
        }
        for d in &self.decode {
            let (s, rate) = (d.step, d.tokens_per_second);
            let joules = d.joules_per_token.map_or(String::new(), |j| j.0.to_string());
            println!(
                "decode,{},{},{},{rate},{},{},{},{:.0},{joules},{tail}",
                d.batch, d.depth, d.batch, s.min, s.median, s.max, d.weight_bytes_per_second
            );
        }
    }
}
