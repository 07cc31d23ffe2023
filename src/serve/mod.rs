//! The HTTP service: the only module that knows HTTP, JSON and users.
//!
//! ```text
//! listen    connections, time limits, shutdown
//!   └ router    which path goes where; errors in each API's shape
//!       ├ openai/   one file per endpoint: read the body → engine requests → write the answer
//!       ├ ollama/   the same for Ollama's API
//!       ├ page/     the chat page
//!       └ health    for load balancers and watchdogs
//! body, fields, knobs   what all endpoints read
//! history               which turns of a conversation fit
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
mod health;
mod history;
mod knobs;
mod listen;
mod loaded;
mod logprobs;
pub mod ollama;
pub mod openai;
mod page;
mod router;

pub use address::{lan_addresses, qr_code};
pub use error::Refusal;
pub use fields::Invalid;
pub use history::{Conversation, fit};
pub use knobs::{Knobs, random_seed};
pub use listen::{Grace, run};
pub use loaded::{LoadedBase, Options};
pub use router::{Service, router};
