//! `loco tokenize` as a user runs it.

mod common;

use common::loco as command;
use std::io::Write as _;
use std::process::{Output, Stdio};

fn loco(arguments: &[&str], input: &str) -> Output {
    let mut child = command()
        .arg("tokenize")
        .args(arguments)
        .env_remove("LOCO_MODEL")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn printed(arguments: &[&str], input: &str) -> String {
    let output = loco(arguments, input);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

const CHAT: &str = "<|bos|><|user|>Hello!<|eot|><|assistant|>";

#[test]
fn text_goes_to_ids_and_back() {
    assert_eq!(printed(&["--special", "--ids", CHAT], ""), "0 2 861 6 1 3\n");
    assert_eq!(printed(&["--special", "--decode", "0 2 861 6 1 3"], ""), CHAT);
    assert_eq!(printed(&["--decode"], "[0, 2, 861, 6, 1, 3]\n"), "Hello!");
    let text = " two\nlines <|eot|> 🦙\n";
    assert_eq!(printed(&["--decode"], &printed(&["--ids"], text)), text);
}

#[test]
fn json_and_lines_show_the_pieces() {
    assert_eq!(printed(&["--json", "--no-bos", "Hello!"], ""), "{\"ids\":[861,6],\"pieces\":[\"Hello\",\"!\"]}\n");
    assert_eq!(printed(&["--json", "--decode", "861 6"], ""), "{\"text\":\"Hello!\"}\n");
    assert_eq!(printed(&["Hello!"], ""), "      0 \"<|bos|>\"\n    861 \"Hello\"\n      6 \"!\"\n");
}

#[test]
fn a_tokenizer_json_will_do() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo/tokenizer.json");
    assert_eq!(printed(&["-m", path, "--ids", "Hello!"], ""), "861 6\n");
}

#[test]
fn what_cannot_be_done_fails_and_says_why() {
    for (arguments, word) in [
        (&["--decode", "1 x"][..], "`x` is not a token id"),
        (&["--decode", "99999"], "only 3072 tokens"),
        (&["-m", "nowhere.gguf", "x"], "nowhere.gguf"),
        (&["--decode", "--ids", "1"], "--ids"),
    ] {
        let output = loco(arguments, "");
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && message.contains(word), "{message}");
    }
}
