//! Stop texts over streamed text.

/// Cuts a stream of text at the first stop text, and keeps back what could still become one.
///
/// The stop text that is complete first ends the stream (of two that end together, the longer one
/// is cut out), so the outcome does not depend on how the text is cut into pieces.
#[derive(Debug, Clone, Default)]
pub(super) struct StopTexts {
    stops: Vec<String>,
    /// Text not given away yet. Empty, or the start of some stop text.
    held: String,
    stream: Stream,
}

/// Whether the stream goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Stream {
    /// No stop text so far.
    #[default]
    Open,
    /// A stop text was found; whatever comes after is dropped.
    Stopped,
}

impl StopTexts {
    /// Watches for `stops`, none of which is empty.
    pub(super) fn new(stops: Vec<String>) -> Self {
        debug_assert!(stops.iter().all(|s| !s.is_empty()));
        Self { stops, ..Self::default() }
    }

    /// Takes the next piece and appends to `out` what is certain not to be part of a stop text.
    pub(super) fn push(&mut self, piece: &str, out: &mut String) -> Stream {
        if self.stream == Stream::Stopped {
            return Stream::Stopped;
        }
        if self.stops.is_empty() {
            out.push_str(piece);
            return Stream::Open;
        }
        self.held.push_str(piece);
        let spans = self.stops.iter().filter_map(|s| self.held.find(s).map(|at| (at + s.len(), at)));
        if let Some((_, start)) = spans.min() {
            out.push_str(&self.held[..start]);
            self.held.clear();
            self.stream = Stream::Stopped;
            return Stream::Stopped;
        }
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let near = self.held.len().saturating_sub(longest);
        let keep = self
            .held
            .char_indices()
            .map(|(at, _)| at)
            .filter(|&at| at >= near)
            .find(|&at| self.stops.iter().any(|s| s.starts_with(&self.held[at..])))
            .unwrap_or(self.held.len());
        out.extend(self.held.drain(..keep));
        Stream::Open
    }

    /// The end of the stream: appends what was kept back.
    pub(super) fn finish(&mut self, out: &mut String) {
        out.push_str(&self.held);
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What comes out piece by piece, the rest at the end, and whether a stop text was found.
    fn run(stops: &[&str], pieces: &[&str]) -> (Vec<String>, Stream) {
        let mut s = StopTexts::new(stops.iter().map(|s| s.to_string()).collect());
        let mut outs = Vec::new();
        for piece in pieces {
            let mut out = String::new();
            let stream = s.push(piece, &mut out);
            outs.push(out);
            if stream == Stream::Stopped {
                return (outs, stream);
            }
        }
        let mut rest = String::new();
        s.finish(&mut rest);
        outs.push(rest);
        (outs, Stream::Open)
    }

    #[test]
    fn a_stop_text_over_several_tokens_is_cut_out() {
        let (outs, end) = run(&["\nUser:"], &["Hello", ".\n", "Us", "er", ": more"]);
        assert_eq!(outs, ["Hello", ".", "", "", ""]);
        assert_eq!(end, Stream::Stopped);
    }

    #[test]
    fn what_only_looked_like_a_stop_text_is_given_later() {
        let (outs, end) = run(&["END"], &["the E", "N", "V of it E"]);
        assert_eq!(outs, ["the ", "", "ENV of it ", "E"]);
        assert_eq!(end, Stream::Open);
    }

    #[test]
    fn a_restart_inside_a_partial_match_is_found() {
        let (outs, end) = run(&["aab"], &["a", "a", "a", "b"]);
        assert_eq!(outs, ["", "", "a", ""]);
        assert_eq!(end, Stream::Stopped);
    }

    #[test]
    fn of_several_stop_texts_the_first_complete_one_ends_the_stream() {
        assert_eq!(run(&["abcd", "bc"], &["xabcd"]).0, ["xa"]);
        assert_eq!(run(&["abcd", "bc"], &["xa", "b", "c", "d"]).0.concat(), "xa");
        // Both end at once: the longer one is cut out.
        assert_eq!(run(&["c", "abc"], &["xabc"]).0, ["x"]);
    }

    #[test]
    fn stop_texts_of_wide_characters_do_not_split_one() {
        let (outs, end) = run(&["→→!"], &["é→", "→", "→!"]);
        assert_eq!(outs, ["é", "", "→"]);
        assert_eq!(end, Stream::Stopped);
    }

    #[test]
    fn nothing_comes_after_a_stop_text() {
        let mut s = StopTexts::new(vec!["x".into()]);
        let mut out = String::new();
        s.push("axb", &mut out);
        assert_eq!(s.push("c", &mut out), Stream::Stopped);
        s.finish(&mut out);
        assert_eq!(out, "a");
    }

    proptest! {
        /// Against the definition: the shortest prefix of the text that ends with a stop text decides.
        #[test]
        fn the_cut_does_not_depend_on_the_pieces(
            text in "[abé]{0,24}",
            stops in prop::collection::vec("[abé]{1,4}", 0..4),
            cuts in prop::collection::vec(0usize..24, 0..6),
        ) {
            let chars: Vec<char> = text.chars().collect();
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let prefixes = (1..=chars.len()).map(|n| chars[..n].iter().collect::<String>());
            let expected = prefixes
                .filter_map(|p| stops.iter().filter_map(|s| p.strip_suffix(s)).min_by_key(|p| p.len()).map(String::from))
                .next();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(chars.len())).collect();
            cuts.extend([0, chars.len()]);
            cuts.sort_unstable();
            let pieces: Vec<String> = cuts.windows(2).map(|w| chars[w[0]..w[1]].iter().collect()).collect();
            let (outs, end) = run(&stops, &pieces.iter().map(String::as_str).collect::<Vec<_>>());
            prop_assert_eq!(outs.concat(), expected.clone().unwrap_or(text));
            prop_assert_eq!(end == Stream::Stopped, expected.is_some());
        }
    }
}
