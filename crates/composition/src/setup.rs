//! A complete setup, as in `adapter_setup.json`.

use burn_adapters_diagnostics::deserialize_unique;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use crate::json::{At, JsonError, parse, read};
use crate::limits::check_value;
use crate::{Composition, HeadSetup};

/// How the adapters and heads of a saved folder are used: the reference's `adapter_setup.json`.
///
/// ```
/// use burn_adapters_composition::{AdapterSetup, Composition};
///
/// let setup = AdapterSetup::new(Composition::parallel(["a", "b"])).with_own_heads();
/// let text = setup.to_json_string();
/// assert_eq!(AdapterSetup::from_json_str(&text)?, setup);
/// assert!(text.contains("\"head_setup\": [\n    \"a\",\n    \"b\"\n  ]"));
/// # Ok::<(), burn_adapters_composition::JsonError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterSetup {
    /// The adapters.
    pub adapters: Composition,
    /// The heads, if the folder has any.
    pub heads: Option<HeadSetup>,
    /// The program that wrote the file, such as `adapters.1.3.0`.
    pub version: Option<String>,
}

impl AdapterSetup {
    /// The name of the file.
    pub const FILE_NAME: &'static str = "adapter_setup.json";

    /// The version of the reference whose format is written.
    pub const VERSION: &'static str = "adapters.1.3.0";

    /// A setup of these adapters, without heads.
    pub fn new(adapters: impl Into<Composition>) -> Self {
        Self { adapters: adapters.into(), heads: None, version: Some(Self::VERSION.into()) }
    }

    /// Sets the heads.
    pub fn with_heads(mut self, heads: impl Into<HeadSetup>) -> Self {
        self.heads = Some(heads.into());
        self
    }

    /// Sets the heads with the names of the adapters ([`HeadSetup::of_adapters`]), if there are any.
    pub fn with_own_heads(mut self) -> Self {
        self.heads = HeadSetup::of_adapters(&self.adapters);
        self
    }

    /// The content of the file.
    pub fn to_json_value(&self) -> Value {
        json!({
            "adapter_setup": self.adapters.to_json_value(),
            "head_setup": self.heads.as_ref().map(HeadSetup::to_json_value),
            "version": self.version,
        })
    }

    /// The text of the file, indented by two spaces as in the reference.
    pub fn to_json_string(&self) -> String {
        format!("{:#}", self.to_json_value())
    }

    /// Parses the content of the file; checks the syntax only, not the rules of [`Composition::validate`] and
    /// [`HeadSetup::validate`].
    ///
    /// # Errors
    ///
    /// [`JsonError`], with the position.
    pub fn from_json_value(value: &Value) -> Result<Self, JsonError> {
        let file = At::root("adapter_setup.json");
        let Value::Object(object) = value else {
            return Err(file.expected("an object with `adapter_setup`", value));
        };
        object.values().try_for_each(check_value)?;
        let adapters = read(object.get("adapter_setup").unwrap_or(&Value::Null), &At::root("adapter_setup"), 0)?;
        let heads = match object.get("head_setup") {
            None | Some(Value::Null | Value::Bool(false)) => None,
            Some(heads) => Some(HeadSetup::read(heads, &At::root("head_setup"))?),
        };
        let version = object.get("version").and_then(Value::as_str).map(str::to_owned);
        Ok(Self { adapters, heads, version })
    }

    /// Parses the text of the file.
    ///
    /// # Errors
    ///
    /// [`JsonError`], with the position.
    pub fn from_json_str(text: &str) -> Result<Self, JsonError> {
        Self::from_json_value(&parse(text)?)
    }
}

impl Serialize for AdapterSetup {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json_value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for AdapterSetup {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_json_value(&deserialize_unique(deserializer)?).map_err(D::Error::custom)
    }
}
