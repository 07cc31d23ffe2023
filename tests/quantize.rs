//! `loco quantize` from outside.

mod common;
#[path = "../src/testing.rs"]
mod testing;

use common::loco;
use locollm::gguf::Writer;
use locollm::quant::Format;
use std::path::Path;
use std::process::Output;
use testing::shared_data;

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo/loco-demo-1.58.gguf");

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

/// A llama of one layer whose weights are not ternary.
fn llama(path: &Path) {
    let tensors = [
        ("token_embd.weight", vec![256, 8]),
        ("output_norm.weight", vec![256]),
        ("blk.0.attn_q.weight", vec![256, 256]),
    ];
    let mut writer = Writer::new(path);
    writer.metadata("general.architecture", "llama");
    writer.metadata("llama.block_count", 1u32);
    for (name, dims) in &tensors {
        writer.tensor(name, dims, Format::F32);
    }
    let mut body = writer.begin().unwrap();
    for (name, dims) in &tensors {
        let n: usize = dims.iter().product();
        let bytes: Vec<u8> = (0..n).flat_map(|i| ((i as f32 * 0.618).fract() - 0.5).to_le_bytes()).collect();
        body.write_tensor(name, &bytes).unwrap();
    }
    body.finish().unwrap();
}

#[test]
fn json_says_what_became_of_every_tensor() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("in.gguf"), folder.path().join("out.gguf"));
    llama(&from);
    let out = quantize(from.to_str().unwrap(), &to, &["--to", "Q4_K_M", "--json", "--threads", "1"]);
    let doc: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((doc["to"].as_str(), doc["size"].as_u64()), (Some("Q4_K_M"), Some(to.metadata().unwrap().len())));
    let tensors = doc["tensors"].as_array().unwrap();
    let formats: Vec<_> = tensors.iter().map(|t| (t["from"].as_str().unwrap(), t["to"].as_str().unwrap())).collect();
    assert_eq!(formats, [("F32", "Q6_K"), ("F32", "F32"), ("F32", "Q4_K")]);
}

#[test]
fn a_failure_leaves_no_file_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("in.gguf"), folder.path().join("out.gguf"));
    llama(&from);
    for (from, target, why) in [(from.to_str().unwrap(), "TQ2_0", "is not ternary"), ("demo", "Q4_K_M", "are ternary")]
    {
        let out = quantize(from, &to, &["--to", target]);
        assert_eq!(out.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&out.stderr).contains(why));
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "something is left");
    }
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
