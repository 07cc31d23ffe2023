//! `loco quantize` from outside.

mod common;
#[path = "../src/testing.rs"]
mod testing;

use common::loco;
use std::path::Path;
use std::process::Output;
use testing::shared_data;

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo/demo-early-I2_S.gguf");

fn quantize(from: &str, to: &Path, args: &[&str]) -> Output {
    loco().arg("quantize").arg(from).arg(to).args(args).output().unwrap()
}

#[test]
fn a_ternary_file_comes_back_from_other_ternary_formats_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    for format in ["TQ1_0", "TQ2_0"] {
        let (there, back) = (folder.path().join("there.gguf"), folder.path().join("back.gguf"));
        assert!(quantize("demo", &there, &["--to", format]).status.success());
        assert!(quantize(there.to_str().unwrap(), &back, &["--to", "i2_s"]).status.success());
        assert!(std::fs::read(DEMO).unwrap() == std::fs::read(&back).unwrap(), "by way of {format}");
    }
}

#[test]
fn json_says_what_became_of_every_tensor() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.gguf");
    let out = quantize("demo", &path, &["--to", "Q4_K_M", "--json", "--threads", "1"]);
    let doc: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((doc["to"].as_str(), doc["size"].as_u64()), (Some("Q4_K_M"), Some(path.metadata().unwrap().len())));
    let tensors = doc["tensors"].as_array().unwrap();
    let embd = tensors.iter().find(|t| t["name"] == "token_embd.weight").unwrap();
    assert_eq!((&embd["from"], &embd["to"]), (&"F16".into(), &"Q6_K".into()));
    assert_eq!(tensors.len(), 68);
}

#[test]
fn a_failure_leaves_no_file_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let q4 = folder.path().join("q4.gguf");
    assert!(quantize("demo", &q4, &["--to", "Q4_K_M"]).status.success());
    let ternary = folder.path().join("ternary.gguf");
    let out = quantize(q4.to_str().unwrap(), &ternary, &["--to", "TQ2_0"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stderr).contains("is not ternary"));
    assert!(!ternary.exists());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "a temporary file is left");
}

#[test]
fn the_f16_demo_becomes_the_files_that_were_made_from_its_weights() {
    let demo = |format: &str| shared_data(&format!("demo-early/demo-early-{format}.gguf"));
    let Some(source) = demo("F16") else { return };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.gguf");
    for format in ["I2_S", "TQ2_0"] {
        assert!(quantize(source.to_str().unwrap(), &out, &["--to", format]).status.success());
        let Some(made) = demo(format) else { return };
        assert!(std::fs::read(&out).unwrap() == std::fs::read(made).unwrap(), "{format}");
    }
}
