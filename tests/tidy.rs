//! House rules that a machine can check. The reasons are in CONTRIBUTING.md and ARCHITECTURE.md.

use std::path::{Path, PathBuf};

/// Modules from the top down: each may use only those after it.
const ORDER: [&str; 14] = [
    "cli", "serve", "host", "bench", "meter", "base", "convert", "engine", "score", "model", "text", "kernel", "gguf",
    "quant",
];

fn sources(dir: &str) -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, out: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                out.push((path, text));
            }
        }
    }
    let mut out = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join(dir), &mut out);
    assert!(!out.is_empty(), "no sources in {dir}");
    out
}

/// The module of a file in `src`.
fn module(path: &Path) -> String {
    let inside = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    inside.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_string()
}

/// The modules that a source text names: after `crate::`, alone or as a group (`use crate::{base, gguf::File}`).
fn named(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let first_word = |text: &'_ str| text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    for (at, start) in text.match_indices("crate::") {
        let rest = &text[at + start.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            names.push(&rest[..first_word(rest)]);
            continue;
        };
        // Names at the group's own level: those of inner groups belong to a module named before.
        let (mut depth, mut begins) = (0, true);
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                _ if begins && c.is_alphabetic() => {
                    names.push(&group[i..][..first_word(&group[i..])]);
                    begins = false;
                }
                _ => {}
            }
        }
    }
    names
}

#[test]
fn imports_are_seen_alone_and_in_groups() {
    assert_eq!(named("use crate::serve::Service;\nlet x = crate::base::open(None);"), ["serve", "base"]);
    assert_eq!(named("use crate::{base, gguf::{File, Value}, text};"), ["base", "gguf", "text"]);
    assert_eq!(named("use crate::{\n    host::{self, Error},\n    kernel,\n};"), ["host", "kernel"]);
}

#[test]
fn modules_stand_only_on_those_below_them() {
    for (path, text) in sources("src") {
        let module = module(&path);
        if ["lib", "main", "testing"].contains(&module.as_str()) {
            continue;
        }
        let place = ORDER.iter().position(|&m| m == module);
        let place = place.unwrap_or_else(|| panic!("`{module}` has no place in the order"));
        for name in named(&text) {
            assert!(!ORDER[..place].contains(&name), "{}: `{module}` must not use `{name}`", path.display());
        }
    }
}

#[test]
fn only_the_top_knows_http_and_anyhow() {
    for (path, text) in sources("src") {
        let module = module(&path);
        if !matches!(module.as_str(), "serve" | "cli") {
            assert!(!text.contains("axum"), "{}: HTTP belongs to `serve`", path.display());
        }
        if module != "cli" {
            assert!(!text.contains("anyhow"), "{}: `anyhow` belongs to `cli`", path.display());
        }
    }
}

#[test]
fn unsafe_code_lives_in_the_kernels_and_the_memory_map() {
    for (path, text) in sources("src") {
        if text.contains("allow(unsafe_code)") {
            assert!(matches!(module(&path).as_str(), "kernel" | "gguf"), "{}: no unsafe code here", path.display());
        }
    }
}

#[test]
fn a_file_is_one_idea() {
    for (path, text) in sources("src") {
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let lines = code.lines().count();
        assert!(lines <= 500, "{}: {lines} lines before its tests; what are its two ideas?", path.display());
    }
}

#[test]
fn nothing_is_left_unfinished() {
    let marks = [["to", "do!("].concat(), ["unimple", "mented!("].concat(), ["FIX", "ME"].concat()];
    for dir in ["src", "tests"] {
        for (path, text) in sources(dir) {
            for mark in &marks {
                assert!(!text.contains(mark.as_str()), "{}: {mark}", path.display());
            }
            assert!(!text.contains(&["#[ig", "nore"].concat()), "{}: an ignored test", path.display());
        }
    }
}
