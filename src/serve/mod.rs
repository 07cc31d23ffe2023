//! The HTTP service: the only module that knows HTTP, JSON and users.
//!
//! ```text
//! listen    connections, time limits, shutdown
//!   └ guard     other sites' pages stay out
//!   └ router    which path goes where; errors in each API's shape
//!       ├ openai/   one file per endpoint: read the body → engine requests → write the answer
//!       ├ ollama/   the same for Ollama's API
//!       ├ page/     the chat page
//!       └ health    for load balancers and watchdogs
//! body, fields, knobs   what all endpoints read
//! answer, logprobs      what all endpoints write from
//! ```
//!
//! Wire types live beside their endpoint and are turned into [`engine::Request`](crate::engine::Request)s there;
//! the engine never sees JSON, and the wire never sees the engine's types.

mod address;
mod answer;
mod body;
mod clock;
mod error;
mod fields;
mod guard;
mod health;
mod knobs;
mod listen;
mod logprobs;
pub mod ollama;
pub mod openai;
mod page;
mod router;

pub use address::{Colours, lan_addresses, qr_code};
pub use error::Refusal;
pub use fields::Invalid;
pub use guard::Names;
pub use listen::{Grace, run};
pub use router::{Service, router};

#[cfg(test)]
mod tests {
    //! Whatever a client sends, reading it ends with a request or an error.
    use super::{ollama, openai};
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    /// Fields that some endpoint reads.
    const NAMES: [&str; 28] = [
        "model",
        "messages",
        "prompt",
        "stream",
        "stream_options",
        "n",
        "best_of",
        "echo",
        "logprobs",
        "top_logprobs",
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "seed",
        "stop",
        "max_tokens",
        "logit_bias",
        "truncation",
        "options",
        "num_predict",
        "role",
        "content",
        "type",
        "text",
        "include_usage",
        "response_format",
        "raw",
    ];

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            (-2i64..300).prop_map(Value::from),
            prop_oneof![Just("user"), Just("text"), Just("auto"), Just("-1"), Just("")].prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            let name = prop_oneof![proptest::sample::select(&NAMES[..]).prop_map(str::to_string), any::<String>(),];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((name, inner), 0..6)
                    .prop_map(|fields| Value::from(fields.into_iter().collect::<Map<_, _>>())),
            ]
        })
    }

    fn read_as_everything(body: &[u8]) {
        // What is accepted is accepted; the point is that nothing panics.
        let _ = openai::parse_chat(body);
        let _ = openai::parse_completion(body);
        let _ = ollama::parse_chat(body);
        let _ = ollama::parse_generate(body);
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_reader_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            read_as_everything(&body);
        }

        #[test]
        fn no_json_makes_a_reader_panic(
            fields in prop::collection::vec((proptest::sample::select(&NAMES[..]), value()), 0..8)
        ) {
            let body: Map<_, _> = fields.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
            read_as_everything(serde_json::to_string(&body).unwrap().as_bytes());
        }
    }
}
