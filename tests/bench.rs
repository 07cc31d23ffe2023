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
    let out = bench(&["--shape", "tiny", "--json"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&report["synthetic"], &report["threads"]), (&true.into(), &1.into()));
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
