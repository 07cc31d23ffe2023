//! Messages of the library, on standard error. `LOCO_LOG` sets the level (`error` to `trace`; `warn` if unset).

use super::terminal::printable;
use log::{LevelFilter, Log, Metadata, Record};

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata) -> bool {
        // Other crates' chatter only where somebody looks for it.
        metadata.target().starts_with("locollm") || metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) {
            let level = record.level().as_str().to_lowercase();
            eprintln!("loco: {level}: {}", printable(&record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

/// Starts logging. Only the first call in a process has an effect.
pub(super) fn start() {
    let level = std::env::var("LOCO_LOG").ok().and_then(|level| level.parse().ok()).unwrap_or(LevelFilter::Warn);
    if log::set_logger(&Stderr).is_ok() {
        log::set_max_level(level);
    }
}
