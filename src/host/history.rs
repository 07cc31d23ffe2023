//! Which turns of a conversation fit into the context.

use crate::text::{ChatTemplate, Error, Message, Token, Tokenizer};

/// A conversation that is ready for the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// Its tokens.
    pub tokens: Vec<Token>,
    /// How many of the oldest messages were left out.
    pub dropped: usize,
}

/// The tokens of `messages`, without the oldest turns if there are more than `room`. System
/// messages at the start and the last question always stay (so the result may still be too long), and
/// what is left starts with a user's message, as templates expect.
pub fn fit(
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    messages: &[Message],
    room: usize,
) -> Result<Conversation, Error> {
    fit_with(|messages| template.encode(tokenizer, messages), messages, room)
}

fn fit_with(
    encode: impl Fn(&[Message]) -> Result<Vec<Token>, Error>,
    messages: &[Message],
    room: usize,
) -> Result<Conversation, Error> {
    let tokens = encode(messages)?;
    if tokens.len() <= room {
        return Ok(Conversation { tokens, dropped: 0 });
    }
    let system = messages.iter().take_while(|m| m.role == "system").count();
    // Where the rest may begin; later ones are shorter, so the first that fits is found by halving.
    let starts: Vec<usize> = (system + 1..messages.len()).filter(|&i| messages[i].role == "user").collect();
    let without = |start: usize| {
        let kept = [&messages[..system], &messages[start..]].concat();
        encode(&kept).map(|tokens| Conversation { tokens, dropped: start - system })
    };
    let Some(&last) = starts.last() else { return Ok(Conversation { tokens, dropped: 0 }) };
    let mut best = without(last)?;
    let (mut low, mut high) = (0, starts.len() - 1);
    while low < high {
        let middle = usize::midpoint(low, high);
        let candidate = without(starts[middle])?;
        if candidate.tokens.len() <= room {
            best = candidate;
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(role: &str, content: &str) -> Message {
        Message { role: role.into(), content: content.into() }
    }

    /// A token per byte and two per message.
    fn encode(messages: &[Message]) -> Result<Vec<Token>, Error> {
        Ok(messages.iter().flat_map(|m| [0].into_iter().chain(m.content.bytes().map(Token::from)).chain([1])).collect())
    }

    fn talk(turns: usize) -> Vec<Message> {
        let mut talk = vec![message("system", "be kind")];
        for turn in 0..turns {
            talk.push(message("user", &format!("question {turn}")));
            talk.push(message("assistant", &format!("answer {turn}")));
        }
        talk.push(message("user", "last"));
        talk
    }

    #[test]
    fn what_fits_stays_whole() {
        let all = encode(&talk(3)).unwrap();
        let fitted = fit_with(encode, &talk(3), all.len()).unwrap();
        assert_eq!(fitted, Conversation { tokens: all, dropped: 0 });
    }

    #[test]
    fn the_oldest_turn_goes_first_and_the_system_message_stays() {
        let messages = talk(3);
        let all = encode(&messages).unwrap();
        let fitted = fit_with(encode, &messages, all.len() - 1).unwrap();
        assert_eq!(fitted.dropped, 2);
        let kept = [&messages[..1], &messages[3..]].concat();
        assert_eq!(fitted.tokens, encode(&kept).unwrap());
    }

    #[test]
    fn the_last_question_stays_even_if_it_is_too_long() {
        let fitted = fit_with(encode, &talk(2), 1).unwrap();
        assert_eq!(fitted.tokens, encode(&[message("system", "be kind"), message("user", "last")]).unwrap());
        let alone = [message("user", "alone")];
        assert_eq!(fit_with(encode, &alone, 1).unwrap().tokens, encode(&alone).unwrap());
    }

    proptest! {
        #[test]
        fn no_more_is_dropped_than_needed(turns in 0usize..20, room in 0usize..400) {
            let messages = talk(turns);
            let fitted = fit_with(encode, &messages, room).unwrap();
            if fitted.dropped > 0 {
                let one_turn_more = [&messages[..1], &messages[fitted.dropped - 1..]].concat();
                prop_assert!(encode(&one_turn_more).unwrap().len() > room);
            }
            prop_assert!(fitted.tokens.len() <= room || fitted.dropped == 2 * turns);
        }
    }
}
