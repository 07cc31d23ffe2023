//! `loco logits` and `loco perplexity`: what they write and print, and that they fail when they fail.

mod common;

use common::loco as command;
use serde_json::Value;
use std::path::Path;
use std::process::Output;

/// Runs the program with the embedded demo base.
fn loco(arguments: &[&str]) -> Output {
    command().args(arguments).output().unwrap()
}

fn json(output: Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The rows of a NumPy file of f32.
fn rows(path: &Path, cols: usize) -> Vec<Vec<f32>> {
    let bytes = std::fs::read(path).unwrap();
    let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]])) + 10;
    let values: Vec<f32> = bytes[header..].as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    values.chunks_exact(cols).map(<[f32]>::to_vec).collect()
}

#[test]
fn logits_are_written_for_the_positions_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("logits.npy");
    let out = path.to_str().unwrap();
    // The first prompt of the demo base's reference: "Hello!" in the chat template.
    let ids = "0,2,861,6,1,3";
    let report = json(loco(&["logits", "--ids", ids, "--out", out, "--positions=-1,0", "--json"]));
    assert_eq!(report["shape"], serde_json::json!([2, 3072]));
    assert_eq!(report["positions"], serde_json::json!([5, 0]));
    // "Hello" begins the answer.
    assert_eq!(report["argmax"][0], 861);

    let some = rows(&path, 3072);
    json(loco(&["logits", "--ids", ids, "--out", out, "--json"]));
    let all = rows(&path, 3072);
    assert_eq!(all.len(), 6);
    assert_eq!(some, [all[5].clone(), all[0].clone()]);

    json(loco(&["logits", "--ids", ids, "--out", out, "--log-probs", "--positions", "5", "--json"]));
    let log_probs = &rows(&path, 3072)[0];
    let total: f64 = log_probs.iter().map(|&l| f64::from(l).exp()).sum();
    assert!((total - 1.0).abs() < 1e-5, "{total}");
    let shift = log_probs[861] - all[5][861];
    assert!(log_probs.iter().zip(&all[5]).all(|(p, l)| (p - l - shift).abs() < 1e-4));
}

#[test]
fn logits_of_a_text_begin_with_its_bos_token() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("logits.npy");
    let report = json(loco(&["logits", "--text", "<|eot|>", "--out", path.to_str().unwrap(), "--json"]));
    let ids = report["ids"].as_array().unwrap();
    assert_eq!(ids[0], 0);
    assert!(ids.len() > 2 && ids.iter().all(|id| *id != 1), "text is text, not control: {ids:?}");
}

#[test]
fn wrong_tokens_write_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("logits.npy");
    let out = path.to_str().unwrap();
    for (arguments, because) in [
        (["--ids", "0,3072", "--positions", "0"], "token 3072 at position 1 is not in the vocabulary of 3072"),
        (["--ids", "0,1", "--positions", "2"], "position 2 is not within the 2 tokens"),
        (["--ids=-1", "--json", "--kv", "f16"], "invalid value '-1'"),
    ] {
        let output = loco(&[&["logits", "--out", out][..], &arguments].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(error.contains(because), "`{error}` does not say `{because}`");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "something was left behind");
}

#[test]
fn perplexity_reports_one_json_document() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.txt");
    std::fs::write(&path, "The capital of France is Paris. There are 7 days in a week.\n".repeat(12)).unwrap();
    let text = path.to_str().unwrap();
    let report = json(loco(&["perplexity", text, "--context", "64", "--stride", "32", "--json"]));
    let (perplexity, nll) = (report["perplexity"].as_f64().unwrap(), report["nll"].as_f64().unwrap());
    assert!((perplexity.ln() - nll).abs() < 1e-12);
    assert!(report["interval"][0].as_f64().unwrap() < perplexity);
    assert!(report["interval"][1].as_f64().unwrap() > perplexity);
    assert_eq!(report["scored"].as_u64().unwrap() + 1, report["tokens"].as_u64().unwrap());
    let bits = nll * report["scored"].as_f64().unwrap() / std::f64::consts::LN_2;
    let bytes = std::fs::metadata(&path).unwrap().len();
    assert!((report["bits_per_byte"].as_f64().unwrap() - bits / bytes as f64).abs() < 1e-9);
    // Windows that do not overlap: with a token before each of them nothing is left unscored.
    let less = json(loco(&["perplexity", text, "--context", "16", "--stride", "16", "--bos", "each", "--json"]));
    assert_eq!(less["scored"], report["scored"]);
    assert!(less["nll"].as_f64().unwrap() > nll, "less context, more loss");
    let gaps = json(loco(&["perplexity", text, "--context", "16", "--stride", "16", "--json"]));
    let windows = report["tokens"].as_u64().unwrap().div_ceil(16);
    assert_eq!(gaps["scored"].as_u64().unwrap(), report["tokens"].as_u64().unwrap() - windows);

    let output = loco(&["perplexity", text, "--context", "64", "--stride", "65"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("a stride of 65 in windows of 64"), "{output:?}");
    let output = loco(&["perplexity", "no such file"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot read no such file"), "{output:?}");
}

#[test]
fn an_imported_model_reports_itself() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("m.gguf");
    let from = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/falcon-e");
    let report = json(loco(&["import", from, out.to_str().unwrap(), "--json"]));
    assert_eq!(report["architecture"], "llama");
    assert_eq!(report["formats"], serde_json::json!([["I2_S", 14], ["F32", 5], ["BF16", 2]]));
    assert!(out.is_file());
    let output = loco(&["import", folder.path().to_str().unwrap(), out.to_str().unwrap()]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("has no config.json"), "{output:?}");
}

/// Without a token for the beginning of a text, the first token is not scored, and its bytes do not count.
#[test]
fn bits_per_byte_are_of_the_scored_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let (base, text) = (folder.path().join("no-bos.gguf"), folder.path().join("text"));
    let mut bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo/loco-demo-1.58.gguf")).unwrap();
    // The key, four bytes for its type, and one that is 0 or 1.
    let key = b"tokenizer.ggml.add_bos_token";
    let at = bytes.windows(key.len()).position(|w| w == key).unwrap() + key.len() + 4;
    assert_eq!(bytes[at], 1);
    bytes[at] = 0;
    std::fs::write(&base, bytes).unwrap();
    // Two tokens: "Hello", "!".
    std::fs::write(&text, "Hello!").unwrap();
    let report = json(loco(&["perplexity", "-m", base.to_str().unwrap(), "--json", text.to_str().unwrap()]));
    assert_eq!((&report["tokens"], &report["scored"]), (&2.into(), &1.into()));
    let bits = report["nll"].as_f64().unwrap() / std::f64::consts::LN_2;
    assert!((report["bits_per_byte"].as_f64().unwrap() - bits).abs() < 1e-9, "{report}");
}
