//! A request body: read or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use locollm::serve::{ollama, openai};

fuzz_target!(|data: &[u8]| {
    let _ = openai::parse_chat(data);
    let _ = openai::parse_completion(data);
    let _ = ollama::parse_chat(data);
    let _ = ollama::parse_generate(data);
});
