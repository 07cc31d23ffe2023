//! What several tests need.

use std::process::Command;

/// The command `loco`, as built for these tests, with no settings from outside.
///
/// A test that runs in an emulator cannot start a program of its own architecture by itself; `LOCO_RUNNER` names what
/// does, e.g. `qemu-aarch64-static -cpu cortex-a76 -L /usr/aarch64-linux-gnu`.
pub(crate) fn loco() -> Command {
    let program = env!("CARGO_BIN_EXE_loco");
    let runner = std::env::var("LOCO_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace();
    let mut command = match words.next() {
        None => Command::new(program),
        Some(first) => {
            let mut command = Command::new(first);
            command.args(words).arg(program);
            command
        }
    };
    for setting in ["LOCO_MODEL", "LOCO_MODELS", "LOCO_PORT", "LOCO_LOG"] {
        command.env_remove(setting);
    }
    command
}
