//! `loco inspect`.

use super::terminal::{one_line, show};
use crate::gguf::{Array, File, Value};
use crate::host::shares;
use serde_json::json;
use std::fmt::Write as _;

/// Elements of an array that are shown; `--key` shows all.
const SHOWN_ELEMENTS: usize = 6;
/// Characters of a string that are shown in the table.
const SHOWN_CHARS: usize = 72;

#[derive(Debug, clap::Args)]
pub(crate) struct Command {
    /// A GGUF file, an installed base's name, or `demo` [default: demo].
    #[arg(value_name = "FILE|NAME")]
    file: Option<String>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
    /// List the tensors too.
    #[arg(long)]
    tensors: bool,
    /// Print only this metadata value, all of it.
    #[arg(long, value_name = "KEY", conflicts_with = "tensors")]
    key: Option<String>,
}

impl Command {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let file = crate::base::open(self.file.as_deref())?;
        let text = match (&self.key, self.json) {
            (Some(key), json) => {
                let value = file.get(key).ok_or_else(|| file.key_error(key, "is not in the file"))?;
                if json { format!("{:#}\n", to_json(value, usize::MAX)) } else { whole(value) }
            }
            (None, true) => format!("{:#}\n", document(&file)?),
            (None, false) => table(&file, self.tensors)?,
        };
        match show(&text) {
            // `loco inspect … | head` has seen enough.
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            done => Ok(done?),
        }
    }
}

/// The sizes that every architecture has, under its own prefix.
struct Sizes<'a> {
    architecture: &'a str,
    context: Option<u64>,
    width: Option<u64>,
    layers: Option<u64>,
    feed_forward: Option<u64>,
    heads: Option<u64>,
    kv_heads: Option<u64>,
}

fn sizes(file: &File) -> anyhow::Result<Sizes<'_>> {
    let architecture = file.str("general.architecture")?.unwrap_or("unknown");
    // Some architectures have one value per layer here; those stand in the metadata below.
    let number = |key: &str| match file.get(&format!("{architecture}.{key}")) {
        Some(Value::Array(_)) => Ok(None),
        _ => file.u64(&format!("{architecture}.{key}")),
    };
    Ok(Sizes {
        architecture,
        context: number("context_length")?,
        width: number("embedding_length")?,
        layers: number("block_count")?,
        feed_forward: number("feed_forward_length")?,
        heads: number("attention.head_count")?,
        kv_heads: number("attention.head_count_kv")?,
    })
}

fn parameters(file: &File) -> usize {
    file.tensors().iter().map(|t| t.values()).sum()
}

fn bits_per_weight(file: &File) -> Option<f64> {
    let bytes: usize = file.tensors().iter().map(|t| t.range().len()).sum();
    let parameters = parameters(file);
    (parameters > 0).then(|| bytes as f64 * 8.0 / parameters as f64)
}

fn vocabulary(file: &File) -> anyhow::Result<Option<usize>> {
    Ok(file.strings("tokenizer.ggml.tokens")?.map(<[String]>::len))
}

fn table(file: &File, tensors: bool) -> anyhow::Result<String> {
    let sizes = sizes(file)?;
    let mut out = String::new();
    let mut line = |name: &str, text: String| writeln!(out, "{name:<14}{text}");
    line("file", format!("{}, {}, GGUF version {}", one_line(file.name()), bytes(file.size()), file.version()))?;
    let name = file.str("general.name")?.map(|n| format!(", \"{}\"", one_line(n))).unwrap_or_default();
    line("architecture", format!("{}{name}", one_line(sizes.architecture)))?;
    if let Some(bits) = bits_per_weight(file) {
        line("parameters", format!("{}, {bits:.2} bits per weight", count(parameters(file))))?;
    }
    let shape: Vec<String> = [
        (sizes.layers, "layers"),
        (sizes.width, "wide"),
        (sizes.feed_forward, "feed-forward"),
        (sizes.heads, "heads"),
        (sizes.kv_heads, "key/value heads"),
    ]
    .iter()
    .filter_map(|(n, what)| n.map(|n| format!("{n} {what}")))
    .collect();
    if !shape.is_empty() {
        line("shape", shape.join(", "))?;
    }
    if let Some(context) = sizes.context {
        line("context", format!("{context} tokens"))?;
    }
    if !file.tensors().is_empty() {
        let tied = file.tensor("output.weight").is_none();
        line("head", if tied { "the token embedding" } else { "a matrix of its own" }.into())?;
    }
    if let Some(model) = file.str("tokenizer.ggml.model")? {
        let pre =
            file.str("tokenizer.ggml.pre")?.map_or("no pre-tokenizer named".into(), |p| format!("pre-tokenizer {p}"));
        let size = vocabulary(file)?.unwrap_or(0);
        line("tokenizer", one_line(&format!("{model}, {pre}, {size} tokens")).into())?;
    }
    let template = file.str("tokenizer.chat_template")?;
    line("template", template.map_or("none".into(), |t| shorten(&one_line(t))))?;

    if !file.tensors().is_empty() {
        writeln!(out, "\n{:<10} {:>8} {:>10} {:>10} {:>7}", "format", "tensors", "values", "bytes", "share")?;
        for s in shares(file) {
            let share = 100.0 * s.bytes as f64 / file.size() as f64;
            let (values, bytes) = (count(s.values), bytes(s.bytes));
            writeln!(out, "{:<10} {:>8} {values:>10} {bytes:>10} {share:>6.1}%", s.format.name(), s.tensors)?;
        }
    }
    writeln!(out, "\nmetadata")?;
    let width = file.metadata().iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    for (key, value) in file.metadata() {
        writeln!(out, "{:<width$} {:<16} {}", one_line(key), value.kind(), short(value))?;
    }
    if tensors {
        writeln!(out, "\n{:<32} {:<10} {:>12} {:>12}  shape", "tensor", "format", "offset", "bytes")?;
        for t in file.tensors() {
            let range = t.range();
            let (name, format) = (one_line(&t.name), t.format.name());
            writeln!(out, "{name:<32} {format:<10} {:>12} {:>12}  {:?}", range.start, range.len(), t.dims)?;
        }
    }
    Ok(out)
}

fn document(file: &File) -> anyhow::Result<serde_json::Value> {
    let sizes = sizes(file)?;
    let formats: Vec<_> = shares(file)
        .iter()
        .map(|s| json!({"format": s.format.name(), "tensors": s.tensors, "values": s.values, "bytes": s.bytes}))
        .collect();
    let metadata: serde_json::Map<_, _> =
        file.metadata().iter().map(|(k, v)| (k.clone(), to_json(v, SHOWN_ELEMENTS))).collect();
    let tensors: Vec<_> = file
        .tensors()
        .iter()
        .map(|t| {
            let range = t.range();
            json!({"name": t.name, "format": t.format.name(), "shape": t.dims, "offset": range.start, "bytes": range.len()})
        })
        .collect();
    Ok(json!({
        "file": file.name(),
        "size": file.size(),
        "version": file.version(),
        "alignment": file.alignment(),
        "architecture": sizes.architecture,
        "name": file.str("general.name")?,
        "parameters": parameters(file),
        "bits_per_weight": bits_per_weight(file),
        "context": sizes.context,
        "embedding_length": sizes.width,
        "layers": sizes.layers,
        "feed_forward_length": sizes.feed_forward,
        "heads": sizes.heads,
        "kv_heads": sizes.kv_heads,
        "tied_head": (!file.tensors().is_empty()).then(|| file.tensor("output.weight").is_none()),
        "tokenizer": {
            "model": file.str("tokenizer.ggml.model")?,
            "pre": file.str("tokenizer.ggml.pre")?,
            "tokens": vocabulary(file)?,
        },
        "chat_template": file.str("tokenizer.chat_template")?,
        "formats": formats,
        "metadata": metadata,
        "tensors": tensors,
    }))
}

/// A value as JSON. An array of more than `most` elements becomes its length and its first ones.
fn to_json(value: &Value, most: usize) -> serde_json::Value {
    match value {
        Value::U8(v) => json!(v),
        Value::I8(v) => json!(v),
        Value::U16(v) => json!(v),
        Value::I16(v) => json!(v),
        Value::U32(v) => json!(v),
        Value::I32(v) => json!(v),
        Value::U64(v) => json!(v),
        Value::I64(v) => json!(v),
        // The shortest decimal that is this f32, not the longer one of the same f64.
        Value::F32(v) => json!(v.to_string().parse::<f64>().unwrap_or(f64::from(*v))),
        Value::F64(v) => json!(v),
        Value::Bool(v) => json!(v),
        Value::String(v) => json!(v),
        Value::Array(a) => {
            let first: Vec<_> = elements(a, most).map(|v| to_json(&v, most)).collect();
            if a.len() > most { json!({"type": a.kind(), "length": a.len(), "first": first}) } else { json!(first) }
        }
    }
}

fn elements(array: &Array, most: usize) -> impl Iterator<Item = Value> + '_ {
    (0..array.len().min(most)).filter_map(|i| array.get(i))
}

/// A value for `--key`: a string as it is, an array one element per line.
fn whole(value: &Value) -> String {
    match value {
        Value::String(s) => format!("{s}\n"),
        Value::Array(a) => elements(a, usize::MAX).map(|v| whole(&v)).collect(),
        other => format!("{}\n", to_json(other, 0)),
    }
}

/// A value on one line of the table.
fn short(value: &Value) -> String {
    match value {
        Value::Array(a) => {
            let shown: Vec<String> = elements(a, SHOWN_ELEMENTS).map(|v| to_json(&v, 0).to_string()).collect();
            let more = if a.len() > shown.len() { ", …" } else { "" };
            shorten(&format!("{} × [{}{more}]", a.len(), one_line(&shown.join(", "))))
        }
        Value::String(s) => shorten(&one_line(s)),
        other => to_json(other, 0).to_string(),
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn count(n: usize) -> String {
    scaled(n, ["", " k", " M", " G"])
}

fn bytes(n: usize) -> String {
    scaled(n, [" B", " kB", " MB", " GB"])
}

/// A number with the unit, of thousandfold steps, that suits its size.
fn scaled(n: usize, [ones, thousands, millions, billions]: [&str; 4]) -> String {
    match n as f64 {
        n if n >= 1e9 => format!("{:.2}{billions}", n / 1e9),
        n if n >= 1e6 => format!("{:.2}{millions}", n / 1e6),
        n if n >= 1e3 => format!("{:.1}{thousands}", n / 1e3),
        n => format!("{n}{ones}"),
    }
}
