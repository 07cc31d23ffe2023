//! Bytes to characters, as they come.

/// Turns tokens into text as they come, never splitting a character. What comes out in all is
/// what [`String::from_utf8_lossy`] makes of all bytes together.
#[derive(Debug, Default, Clone)]
pub struct Decoder {
    /// The beginning of a character: at most three bytes.
    pending: Vec<u8>,
}

impl Decoder {
    /// Adds a token's bytes; whole characters that are now complete are appended to `out`.
    pub fn push(&mut self, bytes: &[u8], out: &mut String) {
        self.pending.extend_from_slice(bytes);
        let mut done = 0;
        for chunk in self.pending.utf8_chunks() {
            out.push_str(chunk.valid());
            done += chunk.valid().len();
            let broken = chunk.invalid();
            // At the end it may be a character that is still to be completed.
            if broken.is_empty() || (done + broken.len() == self.pending.len() && is_beginning(broken)) {
                break;
            }
            out.push(char::REPLACEMENT_CHARACTER);
            done += broken.len();
        }
        self.pending.drain(..done);
    }

    /// What is left at the end, broken bytes as U+FFFD.
    pub fn finish(&mut self, out: &mut String) {
        // Pending bytes are the beginning of one character.
        if !std::mem::take(&mut self.pending).is_empty() {
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

/// Whether more bytes can make a character of these.
fn is_beginning(bytes: &[u8]) -> bool {
    matches!(std::str::from_utf8(bytes), Err(e) if e.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_character_comes_when_it_is_complete() {
        let mut decoder = Decoder::default();
        let mut out = String::new();
        for &byte in &"🦙".as_bytes()[..3] {
            decoder.push(&[byte], &mut out);
            assert_eq!(out, "");
        }
        decoder.push(&[0x99, b'!'], &mut out);
        assert_eq!(out, "🦙!");
        decoder.push(&[0xe4, 0xb8], &mut out);
        decoder.finish(&mut out);
        assert_eq!(out, "🦙!\u{fffd}");
        decoder.finish(&mut out);
        assert_eq!(out, "🦙!\u{fffd}");
    }

    proptest! {
        #[test]
        fn any_cut_gives_what_from_utf8_lossy_gives(
            parts in proptest::collection::vec(proptest::collection::vec(prop_oneof![
                any::<u8>(), Just(0xe4), Just(0xb8), Just(0xad), Just(0xf0), Just(0x9f), Just(b'a'),
            ], 0..4), 0..24)
        ) {
            let mut decoder = Decoder::default();
            let mut out = String::new();
            for part in &parts {
                decoder.push(part, &mut out);
            }
            decoder.finish(&mut out);
            prop_assert_eq!(out, String::from_utf8_lossy(&parts.concat()).into_owned());
        }
    }
}
