//! Chat templates: a conversation as the text, and the tokens, that a model was trained on.

use super::{Encode, Error, Token, Tokenizer, python};
use minijinja::{Environment, Value};
use serde_json::Value as Json;

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// What was said.
    pub content: String,
}

/// What a template is rendered with, where a conversation has more than [`Message`]s.
#[derive(Debug, Clone, PartialEq)]
pub struct Render {
    /// Messages as JSON objects with `role`, `content`, `tool_calls` and so on.
    pub messages: Vec<Json>,
    /// Tools as JSON objects; the template sees `none` if there are none.
    pub tools: Vec<Json>,
    /// Write the beginning of the answer.
    pub add_generation_prompt: bool,
    /// More variables, such as `enable_thinking` or `date_string`.
    pub extra: serde_json::Map<String, Json>,
}

impl Render {
    /// These messages, ready for the answer.
    pub fn new(messages: Vec<Json>) -> Self {
        Self { messages, tools: Vec::new(), add_generation_prompt: true, extra: serde_json::Map::new() }
    }
}

impl From<&[Message]> for Render {
    fn from(messages: &[Message]) -> Self {
        Self::new(messages.iter().map(|m| serde_json::json!({"role": m.role, "content": m.content})).collect())
    }
}

/// A chat template from a model file, compiled.
#[derive(Debug)]
pub struct ChatTemplate {
    /// With one template, [`NAME`].
    env: Environment<'static>,
    /// Names of tokens that templates ask for, such as `bos_token`.
    tokens: Vec<(&'static str, String)>,
}

const NAME: &str = "chat_template";

/// Who may speak. Some templates write a role into a control token, so no other word gets there.
const ROLES: &[&str] = &["system", "developer", "user", "assistant", "tool"];

/// The template of `microsoft/bitnet-b1.58-2B-4T`. Its converter wrote a placeholder instead.
const BITNET: &str = "{% for message in messages %}\
    {% set content = message['role'] | capitalize + ': ' + message['content'] | trim + '<|eot_id|>' %}\
    {% if loop.first %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}\
    {% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}";

/// OpenAI's ChatML.
const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + \
    '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// Llama 3 without its tools.
const LLAMA3: &str = "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + \
    '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}";

/// Gemma: the assistant is called `model`, and a system prompt goes before the first question.
const GEMMA: &str = "{{ bos_token }}{% set ns = namespace(first='') %}{% for message in messages %}\
    {% if message['role'] == 'system' %}{% set ns.first = message['content'] | trim + '\\n\\n' %}{% else %}\
    {{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else 'user') + '\\n' + ns.first + \
    message['content'] | trim + '<end_of_turn>\\n' }}{% set ns.first = '' %}{% endif %}{% endfor %}\
    {% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}";

/// For vocabularies without tokens for turns.
const PLAIN: &str = "{% for message in messages %}{{ message['role'] | capitalize + ': ' + message['content'] | trim \
    + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}";

impl ChatTemplate {
    /// The template that came with a tokenizer; if none did, one that fits its tokens.
    ///
    /// # Errors
    /// If it is no valid template.
    pub fn of(tokenizer: &Tokenizer) -> Result<Self, Error> {
        Self::new(tokenizer.chat_template().unwrap_or_else(|| fallback(tokenizer)), tokenizer)
    }

    /// A template in the Jinja language, or a known better one where `source` is a known placeholder.
    ///
    /// # Errors
    /// If it is no valid template.
    pub fn new(source: &str, tokenizer: &Tokenizer) -> Result<Self, Error> {
        let source = if source.contains("BITNETAssistant") { BITNET } else { source };
        let mut env = python::environment().map_err(failed)?;
        env.add_template_owned(NAME, python::without_generation_blocks(source)).map_err(failed)?;
        let special = tokenizer.special();
        let named = [
            ("bos_token", special.bos),
            ("eos_token", special.eos),
            ("unk_token", special.unknown),
            ("pad_token", special.padding),
        ];
        let tokens = named.into_iter().filter_map(|(name, token)| Some((name, tokenizer.name(token?)))).collect();
        Ok(Self { env, tokens })
    }

    /// The text of a conversation, as `apply_chat_template` of Hugging Face writes it. What messages
    /// contain can look like control tokens in it: use [`ChatTemplate::encode_render`] for the model.
    ///
    /// # Errors
    /// If the template refuses the conversation or fails.
    pub fn render(&self, render: &Render) -> Result<String, Error> {
        let list = |values: &[Json]| values.iter().map(python::value).collect::<Value>();
        let tools = if render.tools.is_empty() { Value::from(()) } else { list(&render.tools) };
        let fixed = [
            ("messages", list(&render.messages)),
            ("tools", tools),
            ("documents", Value::from(())),
            ("add_generation_prompt", Value::from(render.add_generation_prompt)),
        ];
        let tokens = self.tokens.iter().map(|(name, text)| (*name, Value::from(text)));
        let extra = render.extra.iter().map(|(name, value)| (name.as_str(), python::value(value)));
        let context = Value::from_pairs(tokens.chain(fixed).chain(extra));
        self.env.get_template(NAME).and_then(|t| t.render(context)).map_err(failed)
    }

    /// Token ids of a conversation, ready for the answer. What the messages contain is text,
    /// whatever it looks like; only the template writes control tokens.
    ///
    /// # Errors
    /// If a role is not known, or the template refuses the conversation or fails.
    pub fn encode(&self, tokenizer: &Tokenizer, messages: &[Message]) -> Result<Vec<Token>, Error> {
        self.encode_render(tokenizer, &Render::from(messages))
    }

    /// The same for conversations with tools or other variables. All strings in them are text.
    ///
    /// # Errors
    /// As [`ChatTemplate::encode`].
    pub fn encode_render(&self, tokenizer: &Tokenizer, render: &Render) -> Result<Vec<Token>, Error> {
        for message in &render.messages {
            match message.get("role").and_then(Json::as_str) {
                Some(role) if ROLES.contains(&role) => {}
                Some(role) => return Err(Error::Template(format!("unknown role `{role}`"))),
                None => return Err(Error::Template("a message has no role".to_owned())),
            }
        }
        let shielded = |json: &Json| shield(tokenizer, json);
        let text = self.render(&Render {
            messages: render.messages.iter().map(shielded).collect(),
            tools: render.tools.iter().map(shielded).collect(),
            add_generation_prompt: render.add_generation_prompt,
            extra: render.extra.iter().map(|(name, value)| (name.clone(), shielded(value))).collect(),
        })?;
        Ok(tokenizer.encode(&text, Encode { bos: true, special: true }))
    }
}

/// The same value with all strings shielded.
fn shield(tokenizer: &Tokenizer, json: &Json) -> Json {
    match json {
        Json::String(text) => Json::String(tokenizer.shield(text)),
        Json::Array(items) => items.iter().map(|item| shield(tokenizer, item)).collect(),
        Json::Object(map) => map.iter().map(|(k, v)| (tokenizer.shield(k), shield(tokenizer, v))).collect(),
        other => other.clone(),
    }
}

/// A template by the tokens that a vocabulary has for turns.
fn fallback(tokenizer: &Tokenizer) -> &'static str {
    let has = |name: &str| tokenizer.id(name).is_some_and(|t| tokenizer.is_control(t));
    if has("<|im_start|>") {
        CHATML
    } else if has("<|start_header_id|>") {
        LLAMA3
    } else if has("<start_of_turn>") {
        GEMMA
    } else {
        log::warn!("no chat template, and no tokens for turns; conversations are written as plain text");
        PLAIN
    }
}

fn failed(error: minijinja::Error) -> Error {
    Error::Template(format!("{error:#}"))
}
