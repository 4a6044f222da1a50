//! Compositions as JSON, in the format of the reference's `adapter_setup.json`.
//!
//! A block is `{"type": "Stack", "children": […], "kwargs": {…}}`, and an adapter among the children is `{"type":
//! "single", "children": ["a"]}`. The reference saves the lengths of `Split` and `BatchSplit` and the normalized
//! weights of `Average`, but loses the name of a `Fuse` and `normalize_weights=False`. Here both are written as
//! additional `kwargs`, which the reference understands. `Route`, which the reference does not have, has its rows as
//! `kwargs`: names, or null.

use burn_adapters_diagnostics::{deserialize_unique, nearest, parse_json};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::grammar::DEPTH_LIMIT;
use crate::limits::check_value;
use crate::{Block, Composition, Route, Sizes};

/// The reason why a JSON text or value is not a composition, or not a setup.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message explains the fields")]
pub enum JsonError {
    /// The text is not JSON.
    #[error("not valid JSON: {reason}")]
    NotJson { reason: String, line: usize, column: usize },
    /// An unexpected value; the position is written as in `adapter_setup.children[1].kwargs`.
    #[error("{at}: expected {expected}, found {found}")]
    Expected { at: String, expected: &'static str, found: String },
    /// A `type` that is not a block.
    #[error("{at}: unknown block `{name}`{}", hint(name, *nearest))]
    UnknownBlock { at: String, name: String, nearest: Option<&'static str> },
    /// A key of `kwargs` that the block does not have.
    #[error("{at}: `{block}` has no argument `{key}`")]
    UnknownArgument { at: String, block: Block, key: String },
    /// Too many adapters and blocks.
    #[error("there are more than {limit} adapters and blocks")]
    TooMany { limit: usize },
    /// Blocks that are nested too deeply.
    #[error("{at}: blocks are nested more than {limit} deep")]
    TooDeep { at: String, limit: usize },
}

fn hint(name: &str, nearest: Option<&'static str>) -> String {
    match nearest {
        _ if name == "MultiTask" => " (`Route` sends each row through the adapter that it names)".into(),
        Some(nearest) => format!(" (did you mean `{nearest}`?)"),
        None => String::new(),
    }
}

/// A position in a JSON value.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) parent: Option<&'a At<'a>>,
    pub(crate) step: Step<'a>,
}

#[derive(Clone, Copy)]
pub(crate) enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

impl<'a> At<'a> {
    pub(crate) fn root(name: &'a str) -> Self {
        Self { parent: None, step: Step::Key(name) }
    }

    fn key(&'a self, key: &'a str) -> At<'a> {
        At { parent: Some(self), step: Step::Key(key) }
    }

    fn index(&'a self, index: usize) -> At<'a> {
        At { parent: Some(self), step: Step::Index(index) }
    }

    fn text(&self) -> String {
        let mut text = self.parent.map_or(String::new(), At::text);
        match self.step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => text.extend([".", key]),
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
        text
    }

    pub(crate) fn expected(&self, expected: &'static str, found: &Value) -> JsonError {
        JsonError::Expected { at: self.text(), expected, found: describe(found) }
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => {
            let short: String = text.chars().take(40).collect();
            format!("the string {short:?}")
        }
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
    }
}

pub(crate) fn parse(text: &str) -> Result<Value, JsonError> {
    parse_json(text).map_err(|error| JsonError::NotJson {
        reason: error.message,
        line: error.line,
        column: error.column,
    })
}

fn single(name: &str) -> Value {
    json!({ "type": "single", "children": [name] })
}

fn block_value(composition: &Composition, block: Block) -> Value {
    let children: Vec<Value> = composition.children().iter().map(child_value).collect();
    let mut kwargs = Map::new();
    match composition {
        Composition::Fuse { name: Some(name), .. } => {
            kwargs.insert("name".into(), json!(name));
        }
        Composition::Split { splits, .. } => {
            kwargs.insert("splits".into(), json!(splits));
        }
        Composition::BatchSplit { batch_sizes, .. } => {
            kwargs.insert("batch_sizes".into(), json!(batch_sizes));
        }
        Composition::Average { weights, normalize_weights, .. } => {
            kwargs.insert("weights".into(), json!(composition.average_weights()));
            if weights.is_some() && !normalize_weights {
                kwargs.insert("normalize_weights".into(), json!(false));
            }
        }
        Composition::Route(route) if !route.is_open() => {
            kwargs.insert("rows".into(), json!(route.rows()));
        }
        _ => {}
    }
    let mut object = Map::new();
    object.insert("type".into(), json!(block.name()));
    object.insert("children".into(), Value::Array(children));
    if !kwargs.is_empty() {
        object.insert("kwargs".into(), Value::Object(kwargs));
    }
    Value::Object(object)
}

fn child_value(composition: &Composition) -> Value {
    match composition {
        Composition::Adapter(name) => single(name),
        other => other.block().map_or(Value::Null, |block| block_value(other, block)),
    }
}

impl Composition {
    /// The reference's dictionary. As in the reference, a single adapter is written as a `Stack` of one.
    ///
    /// The weights of an `Average` are written normalized; parsing them gives the same average.
    ///
    /// ```
    /// use burn_adapters_composition::Composition;
    ///
    /// let value = Composition::split(["a"], 64).to_json_value();
    /// let expected = r#"{"type":"Split","children":[{"type":"single","children":["a"]}],"kwargs":{"splits":[64]}}"#;
    /// assert_eq!(value, serde_json::from_str::<serde_json::Value>(expected)?);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn to_json_value(&self) -> Value {
        match self {
            Self::Adapter(name) => json!({ "type": "Stack", "children": [single(name)] }),
            other => child_value(other),
        }
    }

    /// Parses the reference's dictionary; checks the syntax only, not the rules of [`Composition::validate`].
    ///
    /// # Errors
    ///
    /// [`JsonError`], with the position.
    pub fn from_json_value(value: &Value) -> Result<Self, JsonError> {
        check_value(value)?;
        read(value, &At::root("composition"), 0)
    }

    /// Parses a JSON text with the reference's dictionary.
    ///
    /// # Errors
    ///
    /// [`JsonError`], with the position.
    pub fn from_json_str(text: &str) -> Result<Self, JsonError> {
        Self::from_json_value(&parse(text)?)
    }
}

pub(crate) fn read(value: &Value, at: &At<'_>, depth: usize) -> Result<Composition, JsonError> {
    let Value::Object(object) = value else {
        return Err(at.expected("a block, such as {\"type\": \"Stack\", \"children\": […]}", value));
    };
    let name = match object.get("type") {
        Some(Value::String(name)) => name.as_str(),
        other => return Err(at.key("type").expected("the block's name", other.unwrap_or(&Value::Null))),
    };
    let children = match object.get("children") {
        Some(Value::Array(children)) => children,
        other => return Err(at.key("children").expected("a list", other.unwrap_or(&Value::Null))),
    };
    if name == "single" {
        return match children.as_slice() {
            [Value::String(name)] => Ok(Composition::Adapter(name.clone())),
            _ => Err(at.key("children").expected("a list of one name", &Value::Array(children.clone()))),
        };
    }
    let Some(block) = Block::of_name(name) else {
        let near = nearest(name, Block::ALL.map(Block::name)).filter(|_| name != "MultiTask");
        let name = name.chars().take(40).collect();
        return Err(JsonError::UnknownBlock { at: at.text(), name, nearest: near });
    };
    if depth >= DEPTH_LIMIT {
        return Err(JsonError::TooDeep { at: at.text(), limit: DEPTH_LIMIT });
    }
    let list = at.key("children");
    let child = |(index, child)| read(child, &list.index(index), depth + 1);
    let children = children.iter().enumerate().map(child).collect::<Result<Vec<_>, _>>()?;
    let empty = Map::new();
    let kwargs = match object.get("kwargs") {
        None | Some(Value::Null) => &empty,
        Some(Value::Object(kwargs)) => kwargs,
        Some(other) => return Err(at.key("kwargs").expected("an object", other)),
    };
    build(block, children, kwargs, &at.key("kwargs"))
}

fn build(
    block: Block,
    children: Vec<Composition>,
    kwargs: &Map<String, Value>,
    at: &At<'_>,
) -> Result<Composition, JsonError> {
    let known = |key: &str| block.arguments().contains(&key) || (block == Block::Route && key == "rows");
    if let Some(key) = kwargs.keys().find(|key| !known(key)) {
        return Err(JsonError::UnknownArgument { at: at.text(), block, key: key.chars().take(40).collect() });
    }
    let sizes = |key: &str| sizes(kwargs.get(key).unwrap_or(&Value::Null), children.len(), &at.key(key));
    Ok(match block {
        Block::Stack => Composition::Stack(children),
        Block::Parallel => Composition::Parallel(children),
        Block::Fuse => {
            let name = match kwargs.get("name") {
                None | Some(Value::Null) => None,
                Some(Value::String(name)) => Some(name.clone()),
                Some(other) => return Err(at.key("name").expected("a name", other)),
            };
            Composition::Fuse { children, name }
        }
        Block::Split => Composition::Split { splits: sizes("splits")?, children },
        Block::BatchSplit => Composition::BatchSplit { batch_sizes: sizes("batch_sizes")?, children },
        Block::Average => average(children, kwargs, at)?,
        Block::Route => {
            let rows = kwargs.get("rows").unwrap_or(&Value::Null);
            Composition::Route(route(rows, &at.key("rows"))?)
        }
    })
}

/// A size for each part; a single number is the size of all.
pub(crate) fn sizes(value: &Value, parts: usize, at: &At<'_>) -> Result<Vec<usize>, JsonError> {
    const EXPECTED: &str = "a whole number or a list of them";
    let size = |value: &Value, at: &At<'_>| {
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        size.ok_or_else(|| at.expected(EXPECTED, value))
    };
    match value {
        Value::Array(items) => items.iter().enumerate().map(|(index, item)| size(item, &at.index(index))).collect(),
        other => Ok(Sizes::Each(size(other, at)?).for_parts(parts)),
    }
}

fn average(children: Vec<Composition>, kwargs: &Map<String, Value>, at: &At<'_>) -> Result<Composition, JsonError> {
    let weights = match kwargs.get("weights") {
        None | Some(Value::Null) => None,
        Some(Value::Array(items)) => {
            let list = at.key("weights");
            let weight = |(index, item): (usize, &Value)| {
                item.as_f64().ok_or_else(|| list.index(index).expected("a number", item))
            };
            Some(items.iter().enumerate().map(weight).collect::<Result<Vec<f64>, _>>()?)
        }
        Some(other) => return Err(at.key("weights").expected("a list of numbers", other)),
    };
    let normalize_weights = match kwargs.get("normalize_weights") {
        None | Some(Value::Null) => true,
        Some(Value::Bool(normalize)) => *normalize,
        Some(other) => return Err(at.key("normalize_weights").expected("true or false", other)),
    };
    // A plain average is saved with equal weights. A number in JSON text may be off by its last digit.
    let equal = 1.0 / children.len() as f64;
    let is_plain = |weights: &Vec<f64>| {
        normalize_weights
            && weights.len() == children.len()
            && weights.iter().all(|weight| (weight - equal).abs() <= f64::EPSILON * equal)
    };
    let weights = weights.filter(|weights| !is_plain(weights));
    Ok(Composition::Average { children, weights, normalize_weights })
}

fn route(rows: &Value, at: &At<'_>) -> Result<Route, JsonError> {
    let row = |(index, row): (usize, &Value)| match row {
        Value::Null => Ok(None),
        Value::String(name) => Ok(Some(name.clone())),
        other => Err(at.index(index).expected("a name or null", other)),
    };
    match rows {
        Value::Null => Ok(Route::open()),
        Value::Array(rows) => rows.iter().enumerate().map(row).collect::<Result<Route, _>>(),
        other => Err(at.expected("a list of names and nulls", other)),
    }
}

impl Serialize for Composition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json_value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Composition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_json_value(&deserialize_unique(deserializer)?).map_err(D::Error::custom)
    }
}
