//! `loco query` and `loco chat` as scripts run them, and what the program says of a base that is broken.

mod common;

use common::loco as command;
use locollm::base;
use serde_json::Value;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Output, Stdio};

fn loco(arguments: &[&str], input: &str) -> Output {
    let mut child = command()
        .args(arguments)
        .env_remove("LOCO_MODEL")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that fails at once need not have read it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const QUESTION: &str = "What is the capital of France?";
const PARIS: &str = "The capital of France is Paris.";

fn demo() -> Vec<u8> {
    std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo/loco-demo-1.58.gguf")).unwrap()
}

/// The demo base as a file of its own, changed.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changed.gguf");
    let mut bytes = demo();
    change(&mut bytes);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// A base whose last norm makes everything infinite.
fn without_numbers() -> (tempfile::TempDir, PathBuf) {
    changed(|bytes| {
        let at = base::open(Some(base::DEMO)).unwrap().tensor("output_norm.weight").unwrap().range();
        bytes[at].as_chunks_mut::<4>().0.fill(f32::MAX.to_le_bytes());
    })
}

/// Puts `to` in place of the text `from`, which must be as long.
fn replace(bytes: &mut [u8], from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
}

#[test]
fn a_query_prints_the_answer_alone_and_its_figures_aside() {
    for (arguments, input) in [(&["query", QUESTION][..], ""), (&["query"], "What is the capital of France?\n")] {
        let output = loco(arguments, input);
        assert!(output.status.success(), "{}", err(&output));
        assert_eq!(out(&output), format!("{PARIS}\n"));
        assert!(err(&output).starts_with('[') && err(&output).contains("tok/s"), "{}", err(&output));
    }
}

#[test]
fn a_query_prints_json_if_asked_to() {
    let output = loco(&["query", "--json", "--seed", "18446744073709551615", QUESTION], "");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["text"], PARIS);
    assert_eq!(document["finish"], "stop");
    assert_eq!(document["seed"], u64::MAX);
    assert!(document["generated_tokens"].as_u64().unwrap() > 3);
}

#[test]
fn a_query_without_a_question_fails() {
    let output = loco(&["query"], "");
    assert!(!output.status.success() && err(&output).contains("no question"), "{}", err(&output));
}

#[test]
fn a_conversation_can_be_scripted() {
    let output =
        loco(&["chat"], &format!("{QUESTION}\n/stats\n/system Be kind.\n/system\n/clear\n/nothing\n/quit\nHello!\n"));
    assert!(output.status.success(), "{}", err(&output));
    let text = out(&output);
    assert!(text.starts_with(&format!("{PARIS}\n[")), "{text}");
    for said in ["2 messages", "answers: 1", "(Be kind.)", "is forgotten", "there is no /nothing"] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(!text.contains("Hello"), "it went on after /quit: {text}");
}

#[test]
fn a_question_that_is_refused_leaves_the_conversation_as_it_was() {
    let long = "word ".repeat(3000);
    let output = loco(&["chat"], &format!("{QUESTION}\n{long}\n/stats\n"));
    let text = out(&output);
    assert!(text.contains("the context holds"), "{text}");
    assert!(text.contains("2 messages"), "the conversation is lost: {text}");
    assert!(!text.contains("no longer fit"), "{text}");
    // Nobody reads a script's output: the exit code says that a question was not answered.
    assert!(!output.status.success() && err(&output).contains("1 questions"), "{}", err(&output));
}

#[test]
fn a_base_that_computes_no_numbers_fails_everywhere() {
    let (folder, path) = without_numbers();
    let path = path.to_str().unwrap();
    let text = folder.path().join("text");
    std::fs::write(&text, "A text of some words.").unwrap();
    let npy = folder.path().join("logits.npy");
    let (text, npy_name) = (text.to_str().unwrap(), npy.to_str().unwrap());
    for (arguments, word) in [
        (&["query", "-m", path, "Hello!"][..], "no token could be chosen"),
        (&["query", "-m", path, "--json", "Hello!"], "no token could be chosen"),
        (&["perplexity", "-m", path, "--json", text], "position 0 is not finite"),
        (&["logits", "-m", path, "--text", "Hello!", "--out", npy_name], "position 0 is not finite"),
    ] {
        let output = loco(arguments, "");
        assert!(!output.status.success(), "{arguments:?}: {}", out(&output));
        assert!(err(&output).contains(word), "{arguments:?}: {}", err(&output));
        assert_eq!(out(&output).trim(), "", "{arguments:?}");
    }
    assert!(!npy.exists());

    let output = loco(&["chat", "-m", path], "Hello!\n/stats\n");
    let said = out(&output);
    assert!(said.contains("no token could be chosen") && said.contains("0 messages"), "{said}");
    assert!(!output.status.success());
}

#[test]
fn a_file_cannot_steer_the_terminal() {
    // A name that sets the terminal's title, in an error that quotes it.
    let (_folder, path) = changed(|bytes| replace(bytes, "bitnet-b1.58", "\x1b]0;title\x07\r\r"));
    let output = loco(&["query", "-m", path.to_str().unwrap(), "Hello!"], "");
    assert!(!output.status.success());
    assert!(!err(&output).contains('\x1b') && err(&output).contains("title"), "{:?}", err(&output));
}

#[test]
fn a_base_whose_template_is_broken_says_so_in_a_line_and_continues_texts() {
    let (_folder, path) = changed(|bytes| {
        let at = bytes.windows(2).position(|w| w == b"{%").unwrap();
        bytes[at..at + 2].copy_from_slice(b"{{");
    });
    let path = path.to_str().unwrap();
    let output = loco(&["query", "-m", path, "Hello!"], "");
    assert!(!output.status.success());
    assert!(err(&output).contains("cannot chat") && err(&output).contains("--raw"), "{}", err(&output));
    assert_eq!(err(&output).lines().count(), 1, "{}", err(&output));
    let output = loco(&["query", "-m", path, "--raw", "--max-tokens", "3", "The capital"], "");
    assert!(output.status.success(), "{}", err(&output));
}

#[test]
fn settings_that_make_no_sense_are_refused_before_anything_is_loaded() {
    for (arguments, word) in [
        (&["serve", "--temperature=-5"][..], "from 0 to 100"),
        (&["serve", "--temperature", "NaN"], "from 0 to 100"),
        (&["serve", "--together", "18446744073709551615"], "1..=256"),
        (&["serve", "--together", "0"], "1..=256"),
        (&["serve", "--waiting", "4000000000"], "65536"),
        (&["serve", "--threads", "0"], "1..=1024"),
        (&["serve", "--host", "example"], "localhost"),
        (&["query", "-m", env!("CARGO_MANIFEST_DIR"), "x"], "is a folder"),
    ] {
        let output = loco(arguments, "");
        assert!(!output.status.success() && err(&output).contains(word), "{arguments:?}: {}", err(&output));
    }
}

#[test]
fn an_empty_text_has_no_perplexity() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let output = loco(&["perplexity", file.path().to_str().unwrap()], "");
    assert!(!output.status.success() && err(&output).contains("is empty"), "{}", err(&output));
}
