//! Speed of the matrix products: `cargo bench --bench kernels -- [--threads N] [--mb SIZE] [--isa ISA] [--count N [--layout LAYOUT]] [FORMAT …]`,
//! a ternary format in each of its layouts
//!
//! One token reads a matrix of SIZE megabytes (more than the caches hold), so GB/s is the figure; many tokens share a smaller
//! one, so GMAC/s is. Each figure is the best of several runs. Plain reading of the same memory comes first, as the yardstick.

use locollm::gguf::Bytes;
use locollm::kernel::{Activations, Compute, Isa, Layout, Matrix};
use locollm::quant::Format;
use std::hint::black_box;
use std::time::{Duration, Instant};

const COLS: usize = 2560;
const FORMATS: [Format; 7] =
    [Format::I2_S, Format::Q4_K, Format::Q5_K, Format::Q6_K, Format::Q8_0, Format::Q4_0, Format::F16];

struct Settings {
    threads: Option<usize>,
    megabytes: usize,
    isas: Vec<Isa>,
    formats: Vec<Format>,
    /// In place of measuring, so many products with one token: for those who count instructions from outside.
    count: Option<usize>,
    /// Of a ternary format, this layout alone; with `count`.
    layout: Option<Layout>,
}

fn main() {
    let settings = settings();
    let threads = settings.threads;
    if let Some(count) = settings.count {
        return products(&settings, count);
    }
    println!("read: {:.1} GB/s", read_speed(&settings));
    println!("{:<12} {:<12} {:>8} {:>10} {:>10} {:>10}", "isa", "format", "GB/s n=1", "GMAC/s n=1", "n=8", "n=64");
    for (format, layout) in settings.formats.iter().flat_map(|&format| layouts(format).map(move |l| (format, l))) {
        let large = matrix(format, layout, settings.megabytes << 20);
        let small = matrix(format, layout, 1 << 20);
        let name = match large.layout() {
            Some(layout) => format!("{layout:?}"),
            None => format.name().to_string(),
        };
        for &isa in &settings.isas {
            let compute = Compute::new(Some(isa), threads).expect("an instruction set that this CPU has");
            let one = seconds(&compute, &large, 1);
            let macs = |m: &Matrix, n: usize, s: f64| (m.rows() * m.cols() * n) as f64 / s * 1e-9;
            println!(
                "{:<12} {:<12} {:>8.1} {:>10.1} {:>10.1} {:>10.1}",
                isa.to_string(),
                name,
                large.bytes() as f64 / one * 1e-9,
                macs(&large, 1, one),
                macs(&small, 8, seconds(&compute, &small, 8)),
                macs(&small, 64, seconds(&compute, &small, 64)),
            );
        }
    }
}

fn settings() -> Settings {
    let mut settings = Settings {
        threads: None,
        megabytes: 256,
        isas: Compute::available(),
        formats: FORMATS.to_vec(),
        count: None,
        layout: None,
    };
    let mut named = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--threads" => settings.threads = args.next().and_then(|n| n.parse().ok()),
            "--mb" => settings.megabytes = args.next().and_then(|n| n.parse().ok()).expect("--mb SIZE"),
            "--count" => settings.count = args.next().and_then(|n| n.parse().ok()),
            "--layout" => {
                let name = args.next().expect("--layout LAYOUT");
                settings.layout = layouts(Format::I2_S).find(|layout| layout.to_string() == name);
            }
            "--isa" => {
                let name = args.next().expect("--isa ISA");
                settings.isas.retain(|isa| isa.to_string() == name);
            }
            "--bench" => {} // cargo's
            name => named.push(*FORMATS.iter().find(|f| f.name() == name).expect("a format of the table")),
        }
    }
    if !named.is_empty() {
        settings.formats = named;
    }
    settings
}

/// `count` products with one token of each matrix of 2560 rows, on the last instruction set.
fn products(settings: &Settings, count: usize) {
    let isa = settings.isas.last().copied();
    let compute = Compute::new(isa, Some(1)).expect("an instruction set that this CPU has");
    for (format, layout) in settings.formats.iter().flat_map(|&format| layouts(format).map(move |l| (format, l))) {
        let bytes = format.tensor_bytes(COLS * COLS).expect("whole blocks");
        let w = matrix(format, layout, bytes);
        if settings.layout.is_some_and(|wanted| w.layout() != Some(wanted)) {
            continue;
        }
        let mut x = Activations::default();
        x.reset(1, COLS);
        let mut y = vec![0.0; w.rows()];
        for _ in 0..count {
            x.rows_mut().iter_mut().enumerate().for_each(|(i, x)| *x = (i % 97) as f32 / 97.0 - 0.5);
            compute.linear(&w, &mut x, &mut y);
        }
        eprintln!("{} {:?}: {count} × {} weights", format.name(), w.layout(), w.rows() * w.cols());
    }
}

fn layouts(format: Format) -> impl Iterator<Item = Layout> {
    let ternary = format == Format::I2_S;
    [Layout::Panels, Layout::Trits, Layout::Rows, Layout::Columns].into_iter().take(if ternary { 4 } else { 1 })
}

/// About `size` bytes of weights with harmless scales.
fn matrix(format: Format, layout: Layout, size: usize) -> Matrix {
    let row = COLS / format.block_len() * format.block_bytes();
    let rows = (size / row).next_multiple_of(16);
    let length = format.tensor_bytes(rows * COLS).expect("whole blocks");
    // 0x24 and its shifts are ternary codes, small half floats, and anything at all as nibbles.
    let bytes: Vec<u8> = (0..length).map(|i| [0x24, 0x18, 0x21, 0x12][i * i % 11 % 4]).collect();
    Matrix::from_format_in(layout, format, rows, COLS, Bytes::new(bytes)).expect("a matrix")
}

/// Best time of a product with `n` tokens.
fn seconds(compute: &Compute, w: &Matrix, n: usize) -> f64 {
    let mut x = Activations::default();
    x.reset(n, w.cols());
    let mut y = vec![0.0; n * w.rows()];
    best(|| {
        x.rows_mut().iter_mut().enumerate().for_each(|(i, x)| *x = (i % 97) as f32 / 97.0 - 0.5);
        compute.linear(w, &mut x, &mut y);
        black_box(&mut y);
    })
}

fn read_speed(settings: &Settings) -> f64 {
    let words = vec![1u64; settings.megabytes << 17];
    let compute = Compute::new(None, settings.threads).expect("a machine");
    let part = words.len() / 64;
    let time = best(|| {
        compute.for_each(64, &|i| {
            black_box(words[i * part..][..part].iter().fold(0, |a, b| a | b));
        });
    });
    (words.len() * 8) as f64 / time * 1e-9
}

/// Shortest of the runs that fit into half a second, at least three.
fn best(mut run: impl FnMut()) -> f64 {
    run();
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    let mut runs = 0;
    while runs < 3 || start.elapsed() < Duration::from_millis(500) {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed().as_secs_f64());
        runs += 1;
    }
    best
}
