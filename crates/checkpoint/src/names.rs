//! The Python library's names of an adapter's parameters: the module at a site, from the model's specification
//! ([`SiteNames`](burn_adapters_core::SiteNames)), then the module of the method and the adapter, then the parameter
//! within it, from the method's table.
//!
//! `bert.` + `encoder.layer.0.output` + `.adapters.reviews.` + `adapter_up.weight`
//!
//! A new method adds its table to `at_sites` or `beside`, and a name in [`METHODS`] or [`BESIDE`]. Nothing here knows a model
//! family.

mod at_sites;
mod beside;
mod fusion;

use std::collections::BTreeSet;

use burn_adapters_core::{ModelSpec, Place, Site, SiteName, join_path};
use burn_adapters_model::Adapter;
use burn_adapters_tensors::{Parameter, parameters};

pub(crate) use at_sites::full_where_needed;
use at_sites::{BOTTLENECK, IA3, LORA, MTL, REFT, VERA};
use beside::{invertible, phm_shared, prefix, prompt, vera_shared};
pub(crate) use fusion::{FusionTensor, fusion_entries};

use crate::CheckpointError;
use crate::layout::{Layout, Rows};

/// A parameter of one of our modules, as the file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its path in our module.
    pub(crate) path: String,
    /// Its names, without the model's prefix: several where the library registers a parameter several times.
    pub(crate) names: Vec<String>,
    /// Its layout in the file.
    pub(crate) layout: Layout,
    /// The rows of the file's tensor that hold it.
    pub(crate) rows: Rows,
    /// The shape of the file's tensor.
    pub(crate) shape: Vec<usize>,
}

impl Entry {
    /// An entry for a parameter that is a whole tensor in the file.
    pub(crate) fn new(parameter: &Parameter, names: Vec<String>, layout: Layout) -> Self {
        Self::in_rows(parameter, names, layout, Rows::ALL)
    }

    /// An entry for a parameter that is rows of a tensor in the file.
    pub(crate) fn in_rows(parameter: &Parameter, names: Vec<String>, layout: Layout, rows: Rows) -> Self {
        let shape = rows.shape(&layout.shape(&parameter.shape));
        Self { path: parameter.path.clone(), names, layout, rows, shape }
    }

    /// The values of our parameter from those of the file's tensor, which must have the entry's shape.
    pub(crate) fn to_ours(&self, tensor: &[f32]) -> Vec<f32> {
        self.layout.to_ours(self.rows.of(tensor).to_vec(), &self.rows.part_shape(&self.shape))
    }

    /// Writes the values of our parameter to those of the file's tensor.
    pub(crate) fn put(&self, values: Vec<f32>, tensor: &mut [f32]) {
        let values = self.layout.to_file(values, &self.rows.part_shape(&self.shape));
        self.rows.put(&values, tensor);
    }

    /// The names under which it is written: both names of a norm, but only the first of a pool of prefixes, which the
    /// library registers again in each layer.
    pub(crate) fn written(&self) -> &[String] {
        let count = if self.path.starts_with("prefix.") { 1 } else { self.names.len() };
        &self.names[..count]
    }
}

/// The names of a parameter, and its layout in the file.
type Names = (Vec<String>, Layout);

/// A method with modules at sites.
struct Method {
    /// The field of [`Adapter`].
    field: &'static str,
    /// The name of the library's module that holds the adapters at a site.
    container: &'static str,
    /// The names of a parameter within the adapter's module at a site, given its path in our module and all paths in our
    /// module.
    local: fn(&str, &BTreeSet<&str>) -> Option<Names>,
}

const METHODS: [Method; 6] = [BOTTLENECK, LORA, VERA, MTL, IA3, REFT];

/// The parts of an adapter that are not at sites: from a path in [`Adapter`] to names without the model's prefix.
const BESIDE: [fn(&str, &Context) -> Option<Names>; 5] = [vera_shared, phm_shared, invertible, prefix, prompt];

/// The information that names depend on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    /// The sites of the model, and their names.
    pub(crate) spec: &'a ModelSpec,
    /// The adapter's name in the file.
    pub(crate) name: &'a str,
}

impl Context<'_> {
    /// The module at a site, and the site's rows in the tensors of that module. If several sites are parts of the module,
    /// the tensors stack those that are `adapted`.
    fn module(&self, site: Site, adapted: impl Fn(Site) -> bool) -> Option<(String, Rows)> {
        let names = &self.spec.names;
        let rows = match names.site(site)? {
            SiteName::Whole(_) => Rows::ALL,
            SiteName::Part { module, index, .. } => {
                let parts = Place::ALL.iter().filter_map(|place| {
                    let site = Site { place: *place, ..site };
                    match names.site(site)? {
                        SiteName::Part { module: other, index, .. } if other == module && adapted(site) => Some(index),
                        _ => None,
                    }
                });
                let parts: Vec<usize> = parts.collect();
                Rows { index: parts.iter().filter(|part| **part < index).count(), count: parts.len().max(1) }
            }
        };
        Some((names.module(site)?, rows))
    }

    /// The names of a parameter that an adapter's modules share.
    fn shared(&self, parameter: &str) -> Vec<String> {
        let modules = self.within(self.spec.names.shared_parameters, "shared_parameters");
        modules.into_iter().map(|module| format!("{module}.{parameter}")).collect()
    }

    /// A module of the adapter's own within each of these models.
    fn within(&self, owners: &[&str], module: &str) -> Vec<String> {
        owners.iter().map(|owner| join_path(owner, &format!("{module}.{}", self.name))).collect()
    }
}

/// Every parameter of an adapter, as the file has it.
pub(crate) fn adapter_entries(adapter: &Adapter, context: &Context) -> Result<Vec<Entry>, CheckpointError> {
    let parameters = parameters(adapter);
    let paths: BTreeSet<&str> = parameters.iter().map(|parameter| parameter.path.as_str()).collect();
    parameters
        .iter()
        .map(|parameter| {
            let (names, layout, rows) = names(&parameter.path, &paths, context).ok_or_else(|| {
                let (path, model_type) = (parameter.path.clone(), context.spec.model_type.clone());
                CheckpointError::NoName { path, model_type }
            })?;
            Ok(Entry::in_rows(parameter, names, layout, rows))
        })
        .collect()
}

fn names(path: &str, paths: &BTreeSet<&str>, context: &Context) -> Option<(Vec<String>, Layout, Rows)> {
    if let Some((names, layout)) = BESIDE.iter().find_map(|names| names(path, context)) {
        return Some((names, layout, Rows::ALL));
    }
    let (field, rest) = path.split_once('.')?;
    let method = METHODS.iter().find(|method| method.field == field)?;
    let (key, local) = rest.split_once('.')?;
    let module = format!("{field}.{key}.");
    let siblings = paths.iter().filter_map(|path| path.strip_prefix(module.as_str())).collect();
    let (names, layout) = (method.local)(local, &siblings)?;
    let adapted = |site: Site| paths.contains(format!("{field}.{}.{local}", site.key()).as_str());
    let (module, rows) = context.module(Site::from_key(key)?, adapted)?;
    let at = format!("{module}.{}.{}", method.container, context.name);
    Some((names.iter().map(|local| format!("{at}.{local}")).collect(), layout, rows))
}

/// A single name.
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
