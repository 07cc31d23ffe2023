//! `loco chat`: a conversation in the terminal, or line by line from a script.

use super::talk::{Answer, Receiver, Talk, failure, figures, receive};
use super::terminal::{one_line, show};
use super::{Base, Weights};
use crate::engine::{self, Events, Finish, Timing};
use crate::host::LoadedBase;
use crate::text::Message;
use anyhow::Context;
use rustyline::error::ReadlineError;
use rustyline::{Config, DefaultEditor};
use std::fmt::Display;
use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};

const HELP: &str = "\
/help            this list
/stats           figures of the last answer and of the conversation
/clear           forget the conversation
/system [TEXT]   show or set how the base should behave (`/system -` for nothing)
/quit            leave (or Ctrl-D)
Ctrl-C stops an answer; twice at the prompt, it leaves.";

#[derive(Debug, clap::Args)]
pub(crate) struct Command {
    #[command(flatten)]
    base: Base,
    #[command(flatten)]
    weights: Weights,
    #[command(flatten)]
    talk: Talk,
    /// How the base should behave.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
}

impl Command {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let options = engine::Options { max_sequences: 1, ..engine::Options::default() };
        let base = self.base.load(&self.weights, options)?;
        if let Err(why) = &base.template {
            anyhow::bail!("{} cannot chat ({why}); `loco query --raw` continues texts", base.id);
        }
        let mut chat = Chat {
            base,
            talk: self.talk,
            system: self.system,
            turns: Vec::new(),
            last: None,
            answers: 0,
            generated: 0,
            unanswered: 0,
        };
        let done = if std::io::stdin().is_terminal() { in_terminal(&mut chat) } else { scripted(&mut chat) };
        chat.base.engine.shutdown();
        done
    }
}

/// A conversation.
struct Chat {
    base: LoadedBase,
    talk: Talk,
    system: Option<String>,
    /// Questions and answers, oldest first.
    turns: Vec<Message>,
    /// Figures of the last answer.
    last: Option<Timing>,
    answers: usize,
    generated: usize,
    /// Questions without an answer.
    unanswered: usize,
}

/// What a line means.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    Nothing,
    Help,
    Stats,
    Clear,
    ShowSystem,
    SetSystem(Option<&'a str>),
    Quit,
    Unknown(&'a str),
    Question(&'a str),
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Self {
        let line = line.trim();
        let Some(command) = line.strip_prefix('/') else {
            return if line.is_empty() { Line::Nothing } else { Line::Question(line) };
        };
        let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        match (name, rest.trim()) {
            ("help" | "?", _) => Line::Help,
            ("stats", _) => Line::Stats,
            ("clear" | "new", _) => Line::Clear,
            ("quit" | "exit" | "bye", _) => Line::Quit,
            ("system", "") => Line::ShowSystem,
            ("system", "-") => Line::SetSystem(None),
            ("system", text) => Line::SetSystem(Some(text)),
            _ => Line::Unknown(name),
        }
    }
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Line,
    Leave,
}

impl Chat {
    /// Does what a line says; `answer` receives an answer and shows it.
    fn line(
        &mut self,
        line: &str,
        answer: &mut dyn FnMut(Events, Receiver) -> anyhow::Result<Answer>,
    ) -> anyhow::Result<Next> {
        match Line::parse(line) {
            Line::Nothing => {}
            Line::Help => println!("{HELP}"),
            Line::Stats => self.stats(),
            Line::Clear => {
                self.turns.clear();
                println!("(the conversation is forgotten)");
            }
            Line::ShowSystem => println!("({})", self.system.as_deref().unwrap_or("no system message")),
            Line::SetSystem(text) => self.system = text.map(str::to_string),
            Line::Quit => return Ok(Next::Leave),
            Line::Unknown(name) => println!("(there is no /{name}; /help lists what there is)"),
            Line::Question(text) => self.ask(text, answer)?,
        }
        Ok(Next::Line)
    }

    /// Asks a question with the conversation before it. What the base refuses is told and not fatal.
    fn ask(
        &mut self,
        text: &str,
        answer: &mut dyn FnMut(Events, Receiver) -> anyhow::Result<Answer>,
    ) -> anyhow::Result<()> {
        let message = |role: &str, content: &str| Message { role: role.into(), content: content.into() };
        let system = self.system.as_deref().map(|text| message("system", text));
        let messages: Vec<Message> =
            system.into_iter().chain(self.turns.iter().cloned()).chain([message("user", text)]).collect();
        let reserve = self.talk.max_tokens.unwrap_or(usize::MAX);
        let conversation = match self.base.encode(&messages, Some(reserve)) {
            Ok(conversation) => conversation,
            Err(why) => return self.refused(&why),
        };
        let receiver = Receiver::new(conversation.tokens.len());
        let events = match self.base.engine.submit(self.talk.request(&self.base, conversation.tokens)) {
            Ok(events) => events,
            Err(why) => return self.refused(&why),
        };
        // Only now: a question that is refused leaves the conversation as it was.
        if conversation.dropped > 0 {
            self.turns.drain(..conversation.dropped);
            println!("(the oldest {} messages no longer fit and are forgotten)", conversation.dropped);
        }
        let answer = answer(events, receiver)?;
        println!();
        if answer.finish == Finish::Length {
            println!("(cut off: the context or --max-tokens is used up)");
        }
        if answer.timing.generated_tokens > 0 {
            println!("[{}]", figures(&answer.timing));
            self.last = Some(answer.timing);
        }
        self.generated += answer.timing.generated_tokens;
        // What was stopped in the middle is part of the conversation; what never began is not.
        if answer.finish == Finish::Failed || (answer.finish == Finish::Cancelled && answer.text.is_empty()) {
            let why = failure(answer.finish).filter(|_| answer.finish == Finish::Failed);
            return self.refused(&why.unwrap_or("there is no answer; the question is forgotten"));
        }
        self.answers += 1;
        self.turns.push(message("user", text));
        self.turns.push(message("assistant", &answer.text));
        Ok(())
    }

    /// Tells why a question has no answer.
    fn refused(&mut self, why: &dyn Display) -> anyhow::Result<()> {
        self.unanswered += 1;
        println!("({})", one_line(&why.to_string()));
        Ok(())
    }

    fn stats(&self) {
        println!("base: {}", one_line(&self.base.summary()));
        println!("context: {} tokens; this conversation has {} messages", self.base.engine.context(), self.turns.len());
        println!("answers: {}, {} tokens together", self.answers, self.generated);
        if let Some(timing) = &self.last {
            println!("last: {}", figures(timing));
        }
    }
}

/// Lines from a script or a pipe: no prompt, no editing.
fn scripted(chat: &mut Chat) -> anyhow::Result<()> {
    for line in std::io::stdin().lock().lines() {
        if chat.line(&line.context("standard input")?, &mut |events, receiver| receive(events, receiver, show))?
            == Next::Leave
        {
            break;
        }
    }
    // Nobody looks on: the exit code has to say it.
    anyhow::ensure!(chat.unanswered == 0, "{} questions were not answered", chat.unanswered);
    Ok(())
}

/// Lines from a person.
fn in_terminal(chat: &mut Chat) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut editor =
        DefaultEditor::with_config(Config::builder().max_history_size(1000)?.auto_add_history(true).build())?;
    let history = history_file();
    if let Some(path) = &history {
        // Nothing to load the first time.
        let _ = editor.load_history(path);
    }
    println!("{}\n/help for help.", one_line(&chat.base.summary()));
    let mut interrupted = false;
    loop {
        match editor.readline("> ") {
            Ok(line) => {
                interrupted = false;
                let mut answer = |events, receiver| runtime.block_on(receive_or_interrupt(events, receiver));
                if chat.line(&line, &mut answer)? == Next::Leave {
                    break;
                }
            }
            Err(ReadlineError::Interrupted) if !interrupted => {
                interrupted = true;
                println!("(Ctrl-C once more to leave)");
            }
            Err(ReadlineError::Interrupted | ReadlineError::Eof) => break,
            Err(e) => return Err(e).context("terminal"),
        }
    }
    if let Some(path) = &history
        && let Err(e) = save_history(&mut editor, path)
    {
        log::warn!("the history is not kept: {}: {e}", path.display());
    }
    Ok(())
}

/// Receives an answer; Ctrl-C ends it where it is.
async fn receive_or_interrupt(mut events: Events, mut receiver: Receiver) -> anyhow::Result<Answer> {
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            _ = &mut interrupt => {
                println!("\n(stopped)");
                return Ok(receiver.answer());
            }
        };
        if receiver.take(event, &mut show)? {
            return Ok(receiver.answer());
        }
    }
}

/// Where questions are remembered from one time to the next: `locollm/chat-history` in
/// `$XDG_STATE_HOME` or `~/.local/state`.
fn history_file() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = variable("XDG_STATE_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("locollm/chat-history"))
}

/// Writes the history for its owner's eyes only.
fn save_history(editor: &mut DefaultEditor, path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    // Made before anything is in it, and set right if it was made by hand.
    let file = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    editor.save_history(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_questions_or_commands() {
        for (line, meaning) in [
            ("", Line::Nothing),
            ("  hello ", Line::Question("hello")),
            ("/help", Line::Help),
            ("/system", Line::ShowSystem),
            ("/system  Be kind. ", Line::SetSystem(Some("Be kind."))),
            ("/system -", Line::SetSystem(None)),
            ("/quit now", Line::Quit),
            ("/helpme", Line::Unknown("helpme")),
            ("1/2 of 4?", Line::Question("1/2 of 4?")),
        ] {
            assert_eq!(Line::parse(line), meaning, "{line:?}");
        }
    }
}
