//! `loco inspect` from outside.

mod common;

use common::loco;
use std::process::Output;

fn inspect(args: &[&str]) -> Output {
    loco().arg("inspect").args(args).output().unwrap()
}

#[test]
fn json_is_one_document_with_sizes_formats_and_tensors() {
    let out = inspect(&["demo", "--json"]);
    assert!(out.status.success());
    let doc: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(doc["architecture"], "bitnet-b1.58");
    assert_eq!(doc["parameters"], 5_514_496);
    assert_eq!(doc["context"], 512);
    assert_eq!(doc["tied_head"], true);
    assert_eq!(doc["tokenizer"]["tokens"], 3072);
    assert_eq!(doc["metadata"]["tokenizer.ggml.tokens"]["length"], 3072);
    assert_eq!(doc["metadata"]["bitnet-b1.58.attention.layer_norm_rms_epsilon"], 1e-5);
    let formats = doc["formats"].as_array().unwrap();
    let tensors: u64 = formats.iter().map(|f| f["tensors"].as_u64().unwrap()).sum();
    assert_eq!(tensors as usize, doc["tensors"].as_array().unwrap().len());
}

#[test]
fn the_table_names_the_network_and_its_formats() {
    let out = String::from_utf8(inspect(&[]).stdout).unwrap();
    for part in ["bitnet-b1.58, \"LocoLLM demo base, 5.5 million parameters", "512 tokens", "I2_S             42"] {
        assert!(out.contains(part), "{part} in:\n{out}");
    }
    assert!(!out.contains("blk."), "tensors unasked for:\n{out}");
    let out = String::from_utf8(inspect(&["--tensors"]).stdout).unwrap();
    assert!(out.contains("blk.0.attn_q.weight"), "{out}");
}

#[test]
fn one_key_is_printed_whole() {
    let out = inspect(&["demo", "--key", "tokenizer.ggml.tokens"]);
    assert_eq!(out.stdout.split(|&b| b == b'\n').next(), Some(b"<|bos|>".as_slice()));
    let out = inspect(&["demo", "--key", "general.file_type", "--json"]);
    assert_eq!(out.stdout, b"40\n");
}

#[test]
fn what_is_not_there_is_an_error() {
    let out = inspect(&["demo", "--key", "no.such.key"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(out.stdout.is_empty());
    assert!(String::from_utf8_lossy(&out.stderr).contains("`no.such.key` is not in the file"));
    assert_eq!(inspect(&["no/such/file.gguf"]).status.code(), Some(1));
}
