//! How the Python library names an adapter's parameters: the module at a site, by model family, then the module of the
//! method and the adapter, then the parameter within it, by method.
//!
//! `bert.` + `encoder.layer.0.output` + `.adapters.reviews.` + `adapter_up.weight`
//!
//! A new method adds a file with its table and a line in [`METHODS`] or [`BESIDE`]; a new family adds a line in [`family`].

mod bottleneck;
mod compacter;
mod family;
mod fusion;
mod ia3;
mod invertible;
mod lora;
mod mtl;
mod prefix;
mod prompt;
mod reft;
mod vera;

use std::collections::BTreeSet;

use burn_adapters_core::{ModelSpec, Site};
use burn_adapters_model::Adapter;

pub(crate) use family::Family;
pub(crate) use fusion::{FusionTensor, fusion_entries};
pub(crate) use vera::full_where_needed;

use crate::CheckpointError;
use crate::layout::Layout;
use crate::parameters::{Described, describe};

/// One parameter of a module of ours, in the file's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its path in our module.
    pub(crate) path: String,
    /// Its names, without the family's prefix. More than one where the library registers a parameter more than once.
    pub(crate) names: Vec<String>,
    /// How the file holds it.
    pub(crate) layout: Layout,
    /// Its shape in the file.
    pub(crate) shape: Vec<usize>,
}

impl Entry {
    /// An entry for a parameter of ours.
    pub(crate) fn new(parameter: &Described, names: Vec<String>, layout: Layout) -> Self {
        let shape = layout.shape(&parameter.shape);
        Self { path: parameter.path.clone(), names, layout, shape }
    }

    /// The names under which it is written: both of a norm's, but not the pool of prefixes once more for each layer.
    pub(crate) fn written(&self) -> &[String] {
        let count = if self.path.starts_with("prefix.") { 1 } else { self.names.len() };
        &self.names[..count]
    }
}

/// Names of a parameter, and how the file holds it.
type Names = (Vec<String>, Layout);

/// A method whose modules sit at sites.
struct Method {
    /// The field of [`Adapter`].
    field: &'static str,
    /// The name of the library's module that holds the adapters at a site.
    container: &'static str,
    /// The names of a parameter within the adapter's module at a site, given its path within ours and the paths of all
    /// of ours.
    local: fn(&str, &BTreeSet<&str>) -> Option<Names>,
}

const METHODS: [Method; 6] = [bottleneck::METHOD, lora::METHOD, vera::METHOD, mtl::METHOD, ia3::METHOD, reft::METHOD];

/// What an adapter has beside its modules at sites: from a path in [`Adapter`] to names without the family's prefix.
const BESIDE: [fn(&str, &Context) -> Option<Names>; 5] =
    [vera::shared, compacter::shared, invertible::names, prefix::names, prompt::names];

/// What names depend on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    /// The names of the modules of the model.
    pub(crate) family: &'a Family,
    /// The sites of the model.
    pub(crate) spec: &'a ModelSpec,
    /// The adapter's name in the file.
    pub(crate) name: &'a str,
}

/// Every parameter of an adapter in the file's terms.
pub(crate) fn adapter_entries(adapter: &Adapter, context: &Context) -> Result<Vec<Entry>, CheckpointError> {
    let parameters = describe(adapter);
    let paths: BTreeSet<&str> = parameters.iter().map(|parameter| parameter.path.as_str()).collect();
    parameters
        .iter()
        .map(|parameter| {
            let (names, layout) = names(&parameter.path, &paths, context).ok_or_else(|| CheckpointError::NoName {
                path: parameter.path.clone(),
                model_type: context.spec.model_type.clone(),
            })?;
            Ok(Entry::new(parameter, names, layout))
        })
        .collect()
}

fn names(path: &str, paths: &BTreeSet<&str>, context: &Context) -> Option<Names> {
    if let Some(names) = BESIDE.iter().find_map(|names| names(path, context)) {
        return Some(names);
    }
    let (field, rest) = path.split_once('.')?;
    let method = METHODS.iter().find(|method| method.field == field)?;
    let (key, local) = rest.split_once('.')?;
    let module = format!("{field}.{key}.");
    let siblings = paths.iter().filter_map(|path| path.strip_prefix(module.as_str())).collect();
    let (names, layout) = (method.local)(local, &siblings)?;
    let at = format!("{}.{}.{}", context.family.module(Site::from_key(key)?)?, method.container, context.name);
    Some((names.iter().map(|local| format!("{at}.{local}")).collect(), layout))
}

/// One name.
fn one(name: impl Into<String>, layout: Layout) -> Option<Names> {
    Some((vec![name.into()], layout))
}

/// A linear layer's parameter of this kind under the library's name of the layer.
fn linear(layer: &str, kind: &str) -> Option<Names> {
    match kind {
        "weight" => one(format!("{layer}.weight"), Layout::Transposed),
        "bias" => one(format!("{layer}.bias"), Layout::Same),
        _ => None,
    }
}

/// The layer in an adapter tensor's name: the first number before the method's module.
pub(crate) fn layer_of(name: &str) -> Option<usize> {
    let end = METHODS.iter().filter_map(|method| name.find(&format!(".{}.", method.container))).min()?;
    first_number(&name[..end])
}

fn first_number(module: &str) -> Option<usize> {
    module.split('.').find_map(|part| part.parse().ok())
}
