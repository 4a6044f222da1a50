//! The modules of a model, under their paths in Hugging Face's classes.

use burn_adapters_core::{ModelSpec, Place, Site, SiteName, join_path};

/// A matrix of the model, as a part of the module that computes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) site: Site,
    /// `[d_input, d_output]`.
    pub(super) size: [usize; 2],
    /// Its number among the module's matrices.
    pub(super) part: usize,
    /// The number of the module's matrices.
    pub(super) of: usize,
}

/// The matrices of the module at a path, with or without the prefix that a class gives to the base model.
pub(super) fn targets(path: &str, spec: &ModelSpec) -> Vec<Target> {
    let is = |site: Site| {
        let Some(module) = spec.names.module(site) else { return false };
        path == module || path == spec.names.prefixed(&module) || path == join_path(&spec.hub_prefix, &module)
    };
    let matrices = spec.matrices().filter(|(site, _)| is(*site));
    matrices.map(|(site, size)| of_site(site, size, spec)).collect()
}

/// The part that a site is of its module.
pub(super) fn of_site(site: Site, size: [usize; 2], spec: &ModelSpec) -> Target {
    match spec.names.site(site) {
        Some(SiteName::Part { index, of, .. }) => Target { site, size, part: index, of },
        _ => Target { site, size, part: 0, of: 1 },
    }
}

/// An error for a path without matrices, or the matrices.
pub(super) fn required(path: &str, spec: &ModelSpec) -> Result<Vec<Target>, String> {
    let found = targets(path, spec);
    if !found.is_empty() {
        return Ok(found);
    }
    let first = |place: Place| {
        let (site, _) = spec.matrices().find(|(site, _)| site.place == place)?;
        Some(format!("`{}`", spec.names.module(site)?))
    };
    let known: Vec<String> = Place::ALL.into_iter().filter_map(first).collect();
    Err(format!(
        "`{path}` is not a matrix that adapters change in this {} model; those of a layer are {}",
        spec.model_type,
        known.join(", ")
    ))
}
