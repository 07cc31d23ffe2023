//! Reads a JSON object field by field, so that an error can name the field.
//!
//! Unknown fields are accepted: clients send more than anyone documents. Fields that are known but
//! not supported are refused by name ([`Fields::refuse`]), for a client that asked for them would
//! otherwise take the answer for what it asked.

use serde_json::{Map, Value};
use std::ops::RangeInclusive;

/// What is wrong with a request's body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It is not JSON, or not a JSON object.
    #[error("the body is not a JSON object: {0}")]
    Json(String),
    /// A parameter is missing, of the wrong type or out of range.
    #[error("`{param}` {what}")]
    Parameter {
        /// Its name on the wire, with a path where it is nested: `messages[2].content`.
        param: String,
        /// What is wrong with it.
        what: String,
    },
    /// A parameter asks for something this server does not do.
    #[error("`{param}` is not supported: {what}")]
    Unsupported {
        /// Its name on the wire.
        param: String,
        /// Why, or what to do instead.
        what: String,
    },
}

impl Invalid {
    /// The parameter at fault, if it is one.
    pub fn param(&self) -> Option<&str> {
        match self {
            Invalid::Json(_) => None,
            Invalid::Parameter { param, .. } | Invalid::Unsupported { param, .. } => Some(param),
        }
    }
}

/// A JSON object whose fields are taken one after the other. `null` counts as absent.
#[derive(Debug)]
pub(crate) struct Fields {
    /// Where the object is in the body, ending in `.` unless it is the body.
    prefix: String,
    map: Map<String, Value>,
}

impl Fields {
    /// The object that a body holds.
    pub(crate) fn from_body(body: &[u8]) -> Result<Self, Invalid> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(map)) => Ok(Self { prefix: String::new(), map }),
            Ok(other) => Err(Invalid::Json(format!("it is {}", kind(&other)))),
            Err(e) => Err(Invalid::Json(e.to_string())),
        }
    }

    /// An object inside the body; `path` says where.
    pub(crate) fn nested(path: &str, value: Value) -> Result<Self, Invalid> {
        match value {
            Value::Object(map) => Ok(Self { prefix: format!("{path}."), map }),
            other => {
                Err(Invalid::Parameter { param: path.into(), what: format!("must be an object, not {}", kind(&other)) })
            }
        }
    }

    /// The field's name with its path.
    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// An error about a field.
    pub(crate) fn error(&self, name: &str, what: impl Into<String>) -> Invalid {
        Invalid::Parameter { param: self.path(name), what: what.into() }
    }

    fn type_error(&self, name: &str, wanted: &str, found: &Value) -> Invalid {
        self.error(
            name,
            match found {
                Value::Number(number) => format!("must be {wanted}, not {number}"),
                _ => format!("must be {wanted}, not {}", kind(found)),
            },
        )
    }

    /// The field as it is.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        // `swap_remove` spoils the order of the rest, which nobody looks at.
        self.map.swap_remove(name).filter(|v| !v.is_null())
    }

    /// A number within `range`.
    pub(crate) fn float(&mut self, name: &str, range: RangeInclusive<f32>) -> Result<Option<f32>, Invalid> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let Some(number) = value.as_f64() else { return Err(self.type_error(name, "a number", &value)) };
        let (low, high) = (range.start(), range.end());
        if !(f64::from(*low)..=f64::from(*high)).contains(&number) {
            return Err(self.error(name, format!("must be between {low} and {high}, not {number}")));
        }
        // In range, so this only rounds.
        Ok(Some(number as f32))
    }

    /// A whole number within `range`; `3.0` is taken for 3.
    pub(crate) fn int(&mut self, name: &str, range: RangeInclusive<i64>) -> Result<Option<i64>, Invalid> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let Some(number) = whole(&value) else { return Err(self.type_error(name, "a whole number", &value)) };
        if !range.contains(&number) {
            let (low, high) = (range.start(), range.end());
            return Err(self.error(name, format!("must be between {low} and {high}, not {number}")));
        }
        Ok(Some(number))
    }

    /// The field if it is a whole number that is not negative; anything else stays where it is.
    pub(crate) fn unsigned(&mut self, name: &str) -> Option<u64> {
        let number = self.map.get(name)?.as_u64()?;
        self.map.swap_remove(name);
        Some(number)
    }

    /// A whole number from `least` to four billion.
    pub(crate) fn count(&mut self, name: &str, least: u32) -> Result<Option<usize>, Invalid> {
        let number = self.int(name, i64::from(least)..=i64::from(u32::MAX))?;
        Ok(number.and_then(|n| usize::try_from(n).ok()))
    }

    /// `true` or `false`.
    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>, Invalid> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(self.type_error(name, "true or false", &other)),
        }
    }

    /// A string.
    pub(crate) fn string(&mut self, name: &str) -> Result<Option<String>, Invalid> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.type_error(name, "a string", &other)),
        }
    }

    /// A string or an array of strings.
    pub(crate) fn strings(&mut self, name: &str) -> Result<Vec<String>, Invalid> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text]),
            Some(Value::Array(items)) => items
                .into_iter()
                .map(|item| match item {
                    Value::String(text) => Ok(text),
                    other => Err(self.type_error(name, "a string or an array of strings", &other)),
                })
                .collect(),
            Some(other) => Err(self.type_error(name, "a string or an array of strings", &other)),
        }
    }

    /// An object's fields.
    pub(crate) fn object(&mut self, name: &str) -> Result<Option<Fields>, Invalid> {
        let path = self.path(name);
        self.take(name).map(|value| Fields::nested(&path, value)).transpose()
    }

    /// Refuses a field that asks for what is not there. Absent, `false`, and empty values ask for nothing.
    pub(crate) fn refuse(&mut self, name: &str, what: &str) -> Result<(), Invalid> {
        let asks = match self.take(name) {
            None | Some(Value::Bool(false)) => false,
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Array(items)) => !items.is_empty(),
            Some(Value::Object(map)) => !map.is_empty(),
            Some(_) => true,
        };
        if asks {
            return Err(Invalid::Unsupported { param: self.path(name), what: what.into() });
        }
        Ok(())
    }

    /// What is left: names and values.
    pub(crate) fn rest(self) -> Map<String, Value> {
        self.map
    }
}

/// A whole number, also where a client wrote it as `3.0`.
pub(crate) fn whole(value: &Value) -> Option<i64> {
    /// Beyond this not every whole number has an own f64.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if let Some(number) = value.as_i64() {
        return Some(number);
    }
    let number = value.as_f64().filter(|n| n.fract() == 0.0 && n.abs() <= EXACT)?;
    // Whole and in range.
    Some(number as i64)
}

/// What a value is, for error messages.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Fields {
        Fields::from_body(json.as_bytes()).unwrap()
    }

    #[test]
    fn a_wrong_type_is_reported_with_the_fields_name() {
        let e = fields(r#"{"temperature": "warm"}"#).float("temperature", 0.0..=2.0).unwrap_err();
        assert_eq!(e.param(), Some("temperature"));
        assert_eq!(e.to_string(), "`temperature` must be a number, not a string");
    }

    #[test]
    fn a_value_out_of_range_is_refused_and_the_limits_are_taken() {
        for (json, ok) in [("0", true), ("2", true), ("2.01", false), ("-0.1", false), ("1e400", false)] {
            let body = format!(r#"{{"t": {json}}}"#);
            let got = Fields::from_body(body.as_bytes()).and_then(|mut f| f.float("t", 0.0..=2.0));
            assert_eq!(got.is_ok(), ok, "{json}: {got:?}");
        }
    }

    #[test]
    fn limits_and_values_are_named_as_people_write_them() {
        let e = fields(r#"{"p": 0}"#).float("p", 0.01..=100.0).unwrap_err();
        assert_eq!(e.to_string(), "`p` must be between 0.01 and 100, not 0");
        let e = fields(r#"{"k": 1.5}"#).int("k", 0..=9).unwrap_err();
        assert_eq!(e.to_string(), "`k` must be a whole number, not 1.5");
    }

    #[test]
    fn null_is_absent() {
        assert_eq!(fields(r#"{"seed": null}"#).int("seed", 0..=1).unwrap(), None);
    }

    #[test]
    fn whole_numbers_may_be_written_as_floats() {
        assert_eq!(fields(r#"{"n": 3.0}"#).count("n", 1).unwrap(), Some(3));
        assert!(fields(r#"{"n": 3.5}"#).count("n", 1).is_err());
        assert!(fields(r#"{"n": 0}"#).count("n", 1).is_err());
        assert!(fields(r#"{"n": 1e30}"#).count("n", 1).is_err());
    }

    #[test]
    fn refusing_spares_fields_that_ask_for_nothing() {
        for nothing in ["null", "false", "[]", "{}", "\"\""] {
            fields(&format!(r#"{{"tools": {nothing}}}"#)).refuse("tools", "no").unwrap();
        }
        let e = fields(r#"{"tools": [{}]}"#).refuse("tools", "no").unwrap_err();
        assert_eq!(e, Invalid::Unsupported { param: "tools".into(), what: "no".into() });
    }

    #[test]
    fn nested_fields_are_reported_with_their_path() {
        let mut options = fields(r#"{"options": {"top_k": []}}"#).object("options").unwrap().unwrap();
        assert_eq!(options.count("top_k", 0).unwrap_err().param(), Some("options.top_k"));
    }

    #[test]
    fn bodies_that_are_no_objects_are_refused() {
        for body in ["", "[]", "3", "{", "{\"a\":1}x", "\u{feff}{}"] {
            assert!(matches!(Fields::from_body(body.as_bytes()), Err(Invalid::Json(_))), "{body:?}");
        }
        assert!(matches!(Fields::from_body(b"{\"a\": \"\xff\"}"), Err(Invalid::Json(_))));
        let deep = "[".repeat(100_000);
        assert!(matches!(Fields::from_body(deep.as_bytes()), Err(Invalid::Json(_))));
    }
}
