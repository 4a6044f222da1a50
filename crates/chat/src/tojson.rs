//! The filter `tojson` as Transformers defines it: Python's `json.dumps` without escapes of letters.

use std::fmt::Write;

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

use crate::python;

/// How the JSON is laid out.
struct Layout {
    /// The indentation of a level; `None` for one line.
    indent: Option<String>,
    between: String,
    after_key: String,
    ascii: bool,
    sorted: bool,
}

/// `value|tojson(ensure_ascii=false, indent=none, separators=none, sort_keys=false)`.
pub(crate) fn tojson(state: &State, value: &Value, indent: Option<Value>, options: Kwargs) -> Result<Value, Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => options.get::<Option<Value>>("indent")?,
    };
    let indent = indent.filter(|indent| !indent.is_none() && !indent.is_undefined());
    let indent = indent.map(|indent| match indent.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => usize::try_from(indent).map(|count| " ".repeat(count.min(64))),
    });
    let indent = indent.transpose()?;
    let separators = options.get::<Option<Vec<String>>>("separators")?;
    let [between, after_key] = match separators.as_deref() {
        Some([between, after_key]) => [between.clone(), after_key.clone()],
        Some(_) => return Err(Error::new(ErrorKind::InvalidOperation, "tojson: expected two separators")),
        // A line ends without a space.
        None => [if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()],
    };
    let layout = Layout {
        indent,
        between,
        after_key,
        ascii: options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sorted: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    options.assert_all_used()?;
    let mut text = String::new();
    layout.write(state, value, 0, &mut text)?;
    Ok(Value::from(text))
}

impl Layout {
    fn write(&self, state: &State, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
        python::pay(state, value.as_str(), depth)?;
        if let Some(text) = value.as_str() {
            return self.string(text, out);
        }
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => out.push_str(&match python::number(value).as_str() {
                "nan" => "NaN".to_owned(),
                "inf" => "Infinity".to_owned(),
                "-inf" => "-Infinity".to_owned(),
                number => number.to_owned(),
            }),
            ValueKind::Seq | ValueKind::Iterable => {
                let items = value.try_iter()?.collect::<Vec<_>>();
                self.list('[', ']', items.len(), depth, out, |index, out| {
                    self.write(state, &items[index], depth + 1, out)
                })?;
            }
            ValueKind::Map => {
                let mut keys = value.try_iter()?.collect::<Vec<_>>();
                if self.sorted {
                    keys.sort();
                }
                self.list('{', '}', keys.len(), depth, out, |index, out| {
                    let key = &keys[index];
                    match key.as_str() {
                        Some(text) => self.string(text, out)?,
                        None => {
                            let mut name = String::new();
                            self.write(state, key, depth + 1, &mut name)?;
                            self.string(&name, out)?;
                        }
                    }
                    out.push_str(&self.after_key);
                    self.write(state, &value.get_item(key)?, depth + 1, out)
                })?;
            }
            kind => {
                let message = format!("tojson: a value of type {kind} has no JSON");
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            }
        }
        Ok(())
    }

    fn list(
        &self,
        open: char,
        close: char,
        count: usize,
        depth: usize,
        out: &mut String,
        mut item: impl FnMut(usize, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        out.push(open);
        for index in 0..count {
            if index > 0 {
                out.push_str(&self.between);
            }
            self.line(depth + 1, out);
            item(index, out)?;
        }
        if count > 0 {
            self.line(depth, out);
        }
        out.push(close);
        Ok(())
    }

    /// A new line at a level, if there are lines.
    fn line(&self, depth: usize, out: &mut String) {
        let Some(indent) = &self.indent else { return };
        out.push('\n');
        (0..depth).for_each(|_| out.push_str(indent));
    }

    fn string(&self, text: &str, out: &mut String) -> Result<(), Error> {
        let json = serde_json::to_string(text);
        let json = json.map_err(|error| Error::new(ErrorKind::InvalidOperation, format!("tojson: {error}")))?;
        if !self.ascii || json.is_ascii() {
            out.push_str(&json);
            return Ok(());
        }
        for c in json.chars() {
            if c.is_ascii() {
                out.push(c);
            } else {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a string does not fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
        Ok(())
    }
}
