//! The environment in which templates run: what Transformers gives to them, within limits.

use std::fmt;

use chrono::format::{Item, StrftimeItems};
use chrono::{DateTime, Local, NaiveDateTime};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};
use minijinja_contrib::globals::{cycler, joiner};
use minijinja_contrib::pycompat::unknown_method_callback;

use crate::tags::{FUNCTION, MARKS};
use crate::template::Clock;
use crate::tojson::tojson;
use crate::{nesting, python};

/// The work and the memory of one rendering: about this many instructions, or 64 bytes for each, together.
const FUEL: u64 = 2_000_000;

/// What a template said when it refused a conversation.
#[derive(Debug)]
pub(crate) struct Raised(pub(crate) String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

/// An environment without templates.
pub(crate) fn environment(clock: Clock) -> Environment<'static> {
    let mut environment = Environment::new();
    // As Transformers sets it; with no other delimiters, building cannot fail.
    if let Ok(syntax) = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build() {
        environment.set_syntax(syntax);
    }
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(method);
    environment.set_formatter(|out, state, value| {
        match value.as_str() {
            Some(text) => out.write_str(text)?,
            None => out.write_str(&python::text(state, value)?)?,
        }
        Ok(())
    });
    environment.add_filter("tojson", |state: &mut State, value: &Value, indent: Option<Value>, options: Kwargs| {
        tojson(state, value, indent, options)
    });
    environment.add_filter("string", |state: &mut State, value: &Value| python::text(state, value));
    // Texts are sequences in Python.
    let is_sequence = |value: &Value| matches!(value.kind(), ValueKind::Seq | ValueKind::String | ValueKind::Map);
    let is_iterable = move |value: &Value| is_sequence(value) || value.kind() == ValueKind::Iterable;
    environment.add_test("sequence", is_sequence);
    environment.add_test("iterable", is_iterable);
    environment.add_function("cycler", cycler);
    environment.add_function("joiner", joiner);
    environment.add_function("raise_exception", |state: &mut State, message: Value| -> Result<Value, Error> {
        let message = python::text(state, &message)?;
        Err(Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Raised(message)))
    });
    environment.add_function("strftime_now", move |format: &str| strftime(format, clock.now()));
    nesting::add_to(&mut environment);
    environment.add_function(FUNCTION, |state: &mut State, options: Kwargs| -> Result<Value, Error> {
        let body = options.get::<Value>("caller")?.call(state, &[])?;
        let [open, close] = MARKS;
        Ok(Value::from(format!("{open}{}{close}", python::text(state, &body)?)))
    });
    environment
}

/// Python's methods, with some that the engine's list lacks.
fn method(state: &mut State, value: &Value, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    if let (Some(text), [argument]) = (value.as_str(), arguments)
        && let Some(part) = argument.as_str()
    {
        let cut = match name {
            "removeprefix" => Some(text.strip_prefix(part)),
            "removesuffix" => Some(text.strip_suffix(part)),
            _ => None,
        };
        if let Some(cut) = cut {
            return Ok(Value::from(cut.unwrap_or(text)));
        }
    }
    unknown_method_callback(state, value, name, arguments)
}

/// A time in Python's notation.
fn strftime(format: &str, now: NaiveDateTime) -> Result<String, Error> {
    let items: Vec<Item<'_>> = StrftimeItems::new(format).collect();
    if items.contains(&Item::Error) || format.len() > 1000 {
        let message = format!("strftime_now: {format:?} is not a format of times such as \"%d %b %Y\"");
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    use std::fmt::Write;
    let mut text = String::new();
    // A time without zone has no name of one.
    write!(text, "{}", now.format_with_items(items.iter())).map_err(|_| {
        Error::new(ErrorKind::InvalidOperation, format!("strftime_now: the time has no zone, as {format:?} asks for"))
    })?;
    Ok(text)
}

impl Clock {
    fn now(self) -> NaiveDateTime {
        match self {
            Clock::System => Local::now().naive_local(),
            Clock::At { seconds } => DateTime::from_timestamp(seconds, 0).unwrap_or_default().naive_utc(),
        }
    }
}
