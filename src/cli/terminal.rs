//! Text of others on its way to the terminal: what a file or a model says must not steer it.

use std::borrow::Cow;
use std::io::{IsTerminal, Write};

/// The text with control characters written out (`\u{1b}`), but for line ends and tabs.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    escape(text, |c| c.is_control() && c != '\n' && c != '\t')
}

/// The text with all control characters written out.
pub(super) fn one_line(text: &str) -> Cow<'_, str> {
    escape(text, char::is_control)
}

fn escape(text: &str, unwanted: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&unwanted) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if unwanted(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out.into()
}

/// Writes to standard output at once: to a terminal what is printable, to a file or a pipe all of it.
pub(super) fn show(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let text = if out.is_terminal() { printable(text) } else { text.into() };
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_can_send_commands_to_the_terminal() {
        assert_eq!(printable("tab\tand\nline"), "tab\tand\nline");
        assert_eq!(printable("\x1b]0;title\x07\r\u{9b}2J"), "\\u{1b}]0;title\\u{7}\\r\\u{9b}2J");
        assert_eq!(one_line("two\nlines"), "two\\nlines");
    }
}
