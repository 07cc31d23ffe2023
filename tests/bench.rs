//! `loco bench` from outside: every figure that it promises is there.

mod common;

use common::loco;
use std::process::Output;

fn bench(args: &[&str]) -> Output {
    let quick =
        ["--prompt", "8", "--generate", "2", "--batch", "1,3", "--depth", "40", "--repeat", "1", "--threads", "1"];
    loco().arg("bench").args(quick).args(args).output().unwrap()
}

#[test]
fn json_has_a_row_for_each_batch_and_depth() {
    let out = bench(&["--shape", "tiny", "--json", "--zeros", "skip"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&report["synthetic"], &report["threads"]["decode"]), (&true.into(), &1.into()));
    assert_eq!((&report["kv"], &report["skip_zeros"]), (&"q8".into(), &true.into()));
    assert_eq!(report["prefill"]["tokens"], 8);
    let rows = report["decode"].as_array().unwrap();
    let rows: Vec<_> = rows.iter().map(|r| (r["batch"].as_u64().unwrap(), r["depth"].as_u64().unwrap())).collect();
    assert_eq!(rows, [(1, 0), (3, 0), (1, 40)]);
    for number in [
        &report["read_bandwidth"],
        &report["prefill"]["ttft"]["median"],
        &report["decode"][2]["tokens_per_second"],
        &report["decode"][2]["weight_bytes_per_second"],
        &report["memory"]["peak"],
    ] {
        assert!(number.as_f64().unwrap() > 0.0, "{report}");
    }
}

#[test]
fn the_demo_base_gives_a_table_and_csv() {
    let table = String::from_utf8(bench(&["--model", "demo"]).stdout).unwrap();
    for part in ["prefill", "decode", "of bandwidth", "memory"] {
        assert!(table.contains(part), "no `{part}` in:\n{table}");
    }
    assert!(!table.contains("speed only"), "{table}");
    let csv = String::from_utf8(bench(&["--model", "demo", "--csv"]).stdout).unwrap();
    let columns: Vec<usize> = csv.lines().map(|line| line.split(',').count()).collect();
    assert_eq!(columns, [columns[0]; 5], "{csv}");
}

#[test]
fn zeros_are_skipped_as_many_as_there_are() {
    let open = |args: &[&str]| {
        let out = bench(&[&["--shape", "tiny", "--json"], args].concat());
        let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        let row = &report["decode"][2];
        (row["open"].as_f64(), row["weight_bytes"].as_u64().unwrap(), report["layout"].as_str().unwrap().to_string())
    };
    let (half, at_half, _) = open(&["--zeros", "skip"]);
    let (few, at_few, layout) = open(&["--zeros", "skip", "--ffn-sparsity", "0.9", "--layout", "trits"]);
    let (none, all, _) = open(&["--zeros", "read", "--layout", "panels"]);
    assert!((0.3..0.7).contains(&half.unwrap()) && (0.02..0.2).contains(&few.unwrap()), "{half:?} {few:?}");
    assert_eq!((none, layout.as_str()), (None, "trits"));
    assert!(at_few < at_half && at_half < all, "{at_few} {at_half} {all}");
}

#[test]
fn heads_are_compared_on_a_text() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.txt");
    std::fs::write(&text, "The cat sat on the mat. The dog sat on the log. Two and two make four.").unwrap();
    let run = |args: &[&str]| {
        let out = loco().args(["bench", "--heads", "--threads", "1", "--text"]).arg(&text).args(args).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    let table = run(&[]);
    assert!(table.contains("the file's own") && table.contains("Q8_0") && table.contains("text.txt"), "{table}");
    let rows: serde_json::Value = serde_json::from_str(&run(&["--json"])).unwrap();
    assert!(rows[0]["own"] == true && rows[1]["perplexity"].as_f64().unwrap() > 1.0, "{rows}");
}

#[test]
fn memory_is_watched_over_a_long_conversation() {
    let out = bench(&["--model", "demo", "--stability", "6", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(report["stability"]["tokens"], 60);
    assert!(report["stability"]["slope"].is_number());
}

#[test]
fn what_makes_no_sense_is_refused() {
    let message = |args: &[&str]| {
        let out = bench(args);
        assert!(!out.status.success(), "{args:?}");
        String::from_utf8_lossy(&out.stderr).into_owned()
    };
    assert!(message(&["--shape", "gpt-5"]).contains("bitnet-2b4t"));
    assert!(message(&["--model", "demo", "--stability", "6", "--csv"]).contains("--stability"));
}
