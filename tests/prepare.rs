//! `loco prepare` from outside: a base that was prepared answers as before, and a file that is no good is not used.

mod common;

use common::loco;

#[test]
fn a_prepared_base_gives_the_same_answer() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base.gguf");
    std::fs::write(&base, include_bytes!("../models/demo/loco-demo-1.58.gguf")).unwrap();
    let ask = || {
        let out = loco()
            .args(["query", "--head", "q8_0", "--layout", "trits", "--model"])
            .arg(&base)
            .arg("What is 12 + 7?")
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        (out.stdout, String::from_utf8(out.stderr).unwrap())
    };
    let (before, _) = ask();
    let out = loco().args(["prepare", "--head", "q8_0", "--layout", "trits", "--model"]).arg(&base).output().unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success() && said.contains("base.gguf.loco") && said.contains("trits"), "{said}");
    let prepared = folder.path().join("base.gguf.loco");
    let (after, complaints) = ask();
    assert_eq!((after, complaints.contains("not used")), (before.clone(), false));

    let mut bytes = std::fs::read(&prepared).unwrap();
    bytes[9000] ^= 1;
    std::fs::write(&prepared, bytes).unwrap();
    let (after, complaints) = ask();
    assert_eq!(after, before);
    assert!(complaints.contains("base.gguf.loco is not used") && complaints.contains("damaged"), "{complaints}");
}

#[test]
fn the_embedded_base_is_no_file_to_prepare() {
    let out = loco().args(["prepare", "--model", "demo"]).output().unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(!out.status.success() && said.contains("no file on a disk"), "{said}");
}
