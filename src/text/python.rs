//! What chat templates expect of Python that minijinja leaves out or does differently.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// An environment that renders as `transformers` does: `trim_blocks`, `lstrip_blocks`, no HTML
/// escaping, loop controls, Python's string methods, `raise_exception`, `strftime_now`, Python's JSON.
pub(super) fn environment() -> Result<Environment<'static>, Error> {
    let mut env = Environment::new();
    env.set_syntax(minijinja::syntax::SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    env.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    env.set_fuel(Some(FUEL));
    env.add_filter("tojson", to_json);
    env.add_filter("indent", indent);
    env.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    env.add_function("strftime_now", |format: &str| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        strftime(format, now)
    });
    Ok(env)
}

/// Instructions, and chunks of 64 bytes of text, that one rendering may use. A thousand messages take less than a tenth.
const FUEL: u64 = 2_000_000;

/// `{% generation %}` marks what an assistant said for training and is a syntax error elsewhere. The
/// blocks become `{% if true %}`, which leaves the white space as it was.
pub(super) fn without_generation_blocks(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        out.push_str(before);
        let inner = tag.split("%}").next().unwrap_or(tag);
        let (replaced, word) = match inner.trim_matches(|c: char| c.is_whitespace() || matches!(c, '-' | '+')) {
            "generation" => ("if true", "generation"),
            "endgeneration" => ("endif", "endgeneration"),
            _ => ("", ""),
        };
        out.push_str(&inner.replacen(word, replaced, usize::from(!word.is_empty())));
        rest = &tag[inner.len()..];
    }
    out.push_str(rest);
    out
}

/// A JSON value for templates; objects keep their order.
pub(super) fn value(json: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match json {
        Json::Null => Value::from(()),
        Json::Bool(b) => Value::from(*b),
        Json::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(i), _) => Value::from(i),
            (None, Some(u)) => Value::from(u),
            (None, None) => Value::from(n.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(s) => Value::from(s.as_str()),
        Json::Array(items) => items.iter().map(value).collect(),
        Json::Object(map) => Value::from_pairs(map.iter().map(|(k, v)| (k.as_str(), value(v)))),
    }
}

/// Longer indentations and separators are refused: no template needs them, and they would be paid for too late.
const LONGEST_FILL: usize = 64;

/// Pays for `bytes` of text before they are written; minijinja looks at what a filter made when it is there.
fn pay(state: &State, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(bytes as u64 / 64)
}

/// Jinja's `indent`, which keeps a newline at the end.
fn indent(state: &State, text: &str, width: Option<Value>, options: Kwargs) -> Result<String, Error> {
    let width = match width.map_or_else(|| options.get::<Option<Value>>("width"), |w| Ok(Some(w)))? {
        Some(w) => spaces(w)?,
        None => " ".repeat(4),
    };
    let first = options.get::<Option<bool>>("first")? == Some(true);
    let blank = options.get::<Option<bool>>("blank")? == Some(true);
    options.assert_all_used()?;
    pay(state, text.len() + width.len() * text.split('\n').count())?;
    let mut out = String::new();
    for (n, line) in text.split('\n').enumerate() {
        if n > 0 {
            out.push('\n');
        }
        if (n == 0 && first) || (n > 0 && (blank || !line.is_empty())) {
            out.push_str(&width);
        }
        out.push_str(line);
    }
    Ok(out)
}

/// An indentation, given as text or as a number of spaces.
fn spaces(width: Value) -> Result<String, Error> {
    match width.as_str() {
        Some(text) => Ok(short(text)?.to_owned()),
        None => match usize::try_from(width)? {
            n @ ..=LONGEST_FILL => Ok(" ".repeat(n)),
            n => Err(too_long(n)),
        },
    }
}

fn short(fill: &str) -> Result<&str, Error> {
    if fill.len() <= LONGEST_FILL { Ok(fill) } else { Err(too_long(fill.len())) }
}

fn too_long(bytes: usize) -> Error {
    let what = format!("an indentation or separator of {bytes} bytes; at most {LONGEST_FILL} are allowed");
    Error::new(ErrorKind::InvalidOperation, what)
}

/// Python's `json.dumps(value, ensure_ascii=False, …)`, as `transformers` defines the filter `tojson`.
fn to_json(state: &State, value: Value, options: Kwargs) -> Result<String, Error> {
    let separators: Option<Vec<String>> = options.get("separators")?;
    let indent: Option<Value> = options.get("indent")?;
    let indent = match indent {
        Some(v) if !v.is_none() => Some(spaces(v)?),
        _ => None,
    };
    let (item, key) = match separators.as_deref() {
        Some([item, key]) => (short(item)?.to_owned(), short(key)?.to_owned()),
        Some(_) => return Err(Error::new(ErrorKind::InvalidOperation, "tojson takes two separators")),
        None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None => (", ".to_owned(), ": ".to_owned()),
    };
    let style = Style {
        item,
        key,
        indent,
        sort: options.get::<Option<bool>>("sort_keys")? == Some(true),
        ascii: options.get::<Option<bool>>("ensure_ascii")? == Some(true),
    };
    options.assert_all_used()?;
    let mut out = Paid { text: String::new(), paid: 0, state };
    style.write(&value, 0, &mut out)?;
    Ok(out.text)
}

/// A text that is paid for while it grows: a list can contain another a thousand times at no cost.
struct Paid<'s> {
    text: String,
    /// Bytes that are paid for.
    paid: usize,
    state: &'s State<'s, 's>,
}

impl Paid<'_> {
    fn push(&mut self, text: &str) -> Result<(), Error> {
        let owed = self.text.len() + text.len() - self.paid;
        if owed >= 64 {
            pay(self.state, owed)?;
            self.paid += owed / 64 * 64;
        }
        self.text.push_str(text);
        Ok(())
    }
}

/// How `json.dumps` lays out its text.
struct Style {
    item: String,
    key: String,
    indent: Option<String>,
    sort: bool,
    ascii: bool,
}

/// Deeper values are refused, as Python does at its recursion limit.
const DEEPEST: usize = 128;

impl Style {
    fn write(&self, value: &Value, depth: usize, out: &mut Paid) -> Result<(), Error> {
        if depth > DEEPEST {
            return Err(Error::new(ErrorKind::InvalidOperation, "value too deep for tojson"));
        }
        match value.kind() {
            ValueKind::None => out.push("null"),
            ValueKind::Bool => out.push(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number if value.is_integer() => out.push(&value.to_string()),
            ValueKind::Number => out.push(&float(f64::try_from(value.clone())?)),
            ValueKind::String => out.push(&self.string(value.as_str().unwrap_or_default())),
            ValueKind::Seq | ValueKind::Iterable => {
                self.list(["[", "]"], value.try_iter()?, depth, out, |item, out| self.write(item, depth + 1, out))
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort {
                    keys.sort();
                }
                self.list(["{", "}"], keys.into_iter(), depth, out, |key, out| {
                    out.push(&self.string(&key.to_string()))?;
                    out.push(&self.key)?;
                    self.write(&value.get_item(key)?, depth + 1, out)
                })
            }
            kind => Err(Error::new(ErrorKind::InvalidOperation, format!("{kind} cannot be written as JSON"))),
        }
    }

    fn list(
        &self,
        [open, close]: [&str; 2],
        items: impl Iterator<Item = Value>,
        depth: usize,
        out: &mut Paid,
        mut write: impl FnMut(&Value, &mut Paid) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let newline = |depth: usize, out: &mut Paid| match &self.indent {
            Some(indent) => out.push("\n").and_then(|()| (0..depth).try_for_each(|_| out.push(indent))),
            None => Ok(()),
        };
        let mut is_empty = true;
        out.push(open)?;
        for item in items {
            if !is_empty {
                out.push(&self.item)?;
            }
            is_empty = false;
            newline(depth + 1, out)?;
            write(&item, out)?;
        }
        if !is_empty {
            newline(depth, out)?;
        }
        out.push(close)
    }

    fn string(&self, text: &str) -> String {
        let quoted = serde_json::Value::from(text).to_string();
        if !self.ascii {
            return quoted;
        }
        let mut out = String::with_capacity(quoted.len());
        for c in quoted.chars() {
            match c.is_ascii() {
                true => out.push(c),
                // Writing to a string cannot fail.
                false => c.encode_utf16(&mut [0; 2]).iter().for_each(|u| _ = write!(out, "\\u{u:04x}")),
            }
        }
        out
    }
}

/// Python's `repr` of a float.
fn float(x: f64) -> String {
    if !x.is_finite() {
        return if x.is_nan() {
            "NaN"
        } else if x > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        }
        .to_owned();
    }
    let scientific = format!("{x:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>().unwrap_or(0) {
        e @ (..-4 | 16..) => format!("{mantissa}e{}{:02}", if e < 0 { '-' } else { '+' }, e.unsigned_abs()),
        _ => format!("{x:?}"),
    }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Python's `strftime` for a time in seconds since 1970, in UTC. Directives it does not know stay as they are.
fn strftime(format: &str, seconds: u64) -> String {
    let days = (seconds / 86_400) as i64;
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let (year, month, day) = civil(days);
    let weekday = DAYS[((days + 4) % 7) as usize];
    let month_name = MONTHS[month - 1];
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let directive = chars.next().unwrap_or('%');
        let (directive, bare) = match directive {
            '-' => (chars.next().unwrap_or('-'), true),
            d => (d, false),
        };
        let number = |n: u64| if bare { n.to_string() } else { format!("{n:02}") };
        out += &match directive {
            'Y' => year.to_string(),
            'y' => number(year.unsigned_abs() % 100),
            'm' => number(month as u64),
            'd' => number(day as u64),
            'B' => month_name.to_owned(),
            'b' | 'h' => month_name[..3].to_owned(),
            'A' => weekday.to_owned(),
            'a' => weekday[..3].to_owned(),
            'H' => number(hour),
            'I' => number((hour + 11) % 12 + 1),
            'M' => number(minute),
            'S' => number(second),
            'p' => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            'j' => {
                let n = days - days_before(year) + 1;
                if bare { n.to_string() } else { format!("{n:03}") }
            }
            'F' => format!("{year}-{month:02}-{day:02}"),
            'T' => format!("{hour:02}:{minute:02}:{second:02}"),
            'Z' => "UTC".to_owned(),
            '%' => "%".to_owned(),
            other => format!("%{other}"),
        };
    }
    out
}

/// Days from 1970 to the first of January.
fn days_before(year: i64) -> i64 {
    let y = year - 1;
    y * 365 + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) - 719_162
}

/// Year, month from 1, day from 1 of a day counted from 1970.
fn civil(days: i64) -> (i64, usize, i64) {
    let mut year = 1970 + days.div_euclid(366);
    while days_before(year + 1) <= days {
        year += 1;
    }
    let leap = days_before(year + 1) - days_before(year) == 366;
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut day = days - days_before(year);
    let mut month = 1;
    for length in lengths {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    (year, month, day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_as_python_writes_them() {
        assert_eq!(strftime("%d %b %Y", 1_721_952_000), "26 Jul 2024");
        assert_eq!(strftime("%A, %B %-d, %Y %H:%M:%S %j", 951_825_599), "Tuesday, February 29, 2000 11:59:59 060");
        assert_eq!(strftime("%I %p %y %m %a 100%% %Q", 0), "12 AM 70 01 Thu 100% %Q");
        assert_eq!(strftime("%F %T", 4_102_444_799), "2099-12-31 23:59:59");
    }

    #[test]
    fn floats_as_python_writes_them() {
        for (x, text) in [(1.0, "1.0"), (0.1, "0.1"), (1e16, "1e+16"), (0.0001, "0.0001"), (1.5e-5, "1.5e-05")] {
            assert_eq!(float(x), text);
        }
        assert_eq!(float(123_456_789_012_345.6), "123456789012345.6");
        assert_eq!(float(-2.5e300), "-2.5e+300");
    }

    #[test]
    fn json_as_python_writes_it() {
        let json = serde_json::json!({"b": ["<é>", 1, 2.0, null, true], "a": {}, "c": [], "\n": "\u{1}\"\\"});
        let env = environment().unwrap();
        let render = |template: &str| env.render_str(template, Value::from_pairs([("x", value(&json))])).unwrap();
        assert_eq!(
            render("{{ x | tojson }}"),
            r#"{"b": ["<é>", 1, 2.0, null, true], "a": {}, "c": [], "\n": "\u0001\"\\"}"#
        );
        assert_eq!(
            render(
                "{{ x.b[:2] | tojson(indent=2) }}{{ x | tojson(separators=(',', ':'), sort_keys=true, ensure_ascii=true) }}"
            ),
            "[\n  \"<é>\",\n  1\n]{\"\\n\":\"\\u0001\\\"\\\\\",\"a\":{},\"b\":[\"<\\u00e9>\",1,2.0,null,true],\"c\":[]}"
        );
        assert!(env.render_str("{{ nothing | tojson }}", Value::from(())).is_err());
    }

    #[test]
    fn indent_keeps_the_last_newline() {
        let env = environment().unwrap();
        let render = |template: &str| env.render_str(template, Value::from(())).unwrap();
        assert_eq!(render("{{ 'a\n\nb\n' | indent(2, first=True) }}|"), "  a\n\n  b\n|");
        assert_eq!(render("{{ 'a\n\nb' | indent(width='> ', blank=true) }}|"), "a\n> \n> b|");
    }

    #[test]
    fn generation_blocks_disappear() {
        let source =
            "a\n{%- generation -%}\n b {% endgeneration %}\n{{ '{%generation%}' }}{% if generation %}{% endif %}";
        let env = environment().unwrap();
        let text = env.render_str(&without_generation_blocks(source), Value::from(())).unwrap();
        assert_eq!(text, "ab {%if true%}");
        assert_eq!(without_generation_blocks("x {% y"), "x {% y");
    }

    #[test]
    fn an_endless_template_is_stopped() {
        let env = environment().unwrap();
        let source = "{% for a in range(9999) %}{% for b in range(9999) %}{{ a * b }}{% endfor %}{% endfor %}";
        assert!(env.render_str(source, Value::from(())).is_err());
    }

    #[test]
    fn a_template_cannot_write_more_than_it_pays_for() {
        let env = environment().unwrap();
        for (source, word) in [
            ("{{ ('\\n' * 1000000) | indent('a' * 1000000, blank=true) }}", "1000000 bytes"),
            ("{{ 'a' | indent(1000000, first=true) }}", "1000000 bytes"),
            ("{{ ('\\n' * 9000000) | indent(64, blank=true) | length }}", "fuel"),
            ("{{ range(99999) | tojson(indent='a' * 1000000) }}", "1000000 bytes"),
            ("{{ range(99999) | tojson(separators=['a' * 1000000, ':']) }}", "1000000 bytes"),
            ("{{ {'a': 1} | tojson(separators=[',', 'a' * 1000000]) }}", "1000000 bytes"),
            ("{% set x = [range(9999) | list] * 1000 %}{% set y = [x] * 1000 %}{{ y | tojson | length }}", "fuel"),
            ("{{ ('a' * 1000000) | replace('a', 'b' * 1000000) }}", "fuel"),
            ("{{ range(99999) | join('a' * 1000000) }}", "fuel"),
        ] {
            let error = format!("{:#}", env.render_str(source, Value::from(())).unwrap_err());
            assert!(error.contains(word), "{source}: {error}");
        }
        assert_eq!(env.render_str("{{ 'a' | indent(64, first=true) | length }}", Value::from(())).unwrap(), "65");
    }
}
