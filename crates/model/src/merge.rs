//! Merging an adapter into a model's weights, for serving one adapter at no cost.

use std::ops::Deref;

use burn::module::ParamId;
use burn::nn::Linear;
use burn_adapters_core::Site;
use burn_adapters_ia3::MergedIa3;
use burn_adapters_lora::Merged;

use crate::{Adapter, BankError, Matrices, MergeFailure};

/// A model that gives mutable access to the matrix at a site.
pub trait Mergeable: Matrices {
    /// The matrix at a site, if the model has one there.
    fn linear_mut(&mut self, site: Site) -> Option<&mut Linear>;
}

#[derive(Debug)]
enum Undo {
    Lora(Merged),
    Ia3(MergedIa3),
}

/// The upper half of the ids of merged weights. One in four billion of the ids that Burn draws has it too; ids are
/// therefore compared as a whole.
const MERGED: u64 = 0xada9_7e4d_0000_0000;

/// The id of weights that hold an adapter, by which a pass with the same adapter detects that it would act twice. It
/// depends on the adapter's name and configuration, so that an adapter that was loaded again has the same id.
pub(crate) fn merged_id(adapter: &Adapter) -> ParamId {
    // FNV-1a.
    let bytes = adapter.name().bytes().chain([0]).chain(adapter.config().to_string().into_bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    ParamId::from(MERGED | u64::from(hash))
}

/// Whether a weight holds some adapter.
pub(crate) fn is_merged(id: ParamId) -> bool {
    id.val() & 0xffff_ffff_0000_0000 == MERGED
}

/// A model with an adapter merged into its weights. Running the same adapter on top of it is an error.
///
/// It can be run, because it dereferences to the model, but it is not [`Mergeable`] itself: merging twice does not
/// compile.
#[derive(Debug)]
pub struct MergedModel<M> {
    model: M,
    merged: Vec<(Site, Undo)>,
    name: String,
}

impl<M: Mergeable> MergedModel<M> {
    /// Merges an adapter into a model.
    ///
    /// # Errors
    /// If the adapter has parts that cannot be expressed as weights (bottlenecks, gates), or is for another model; the
    /// error returns the model unchanged.
    pub fn merge(mut model: M, adapter: &Adapter) -> Result<Self, Box<MergeFailure<M>>> {
        let mut merged = Vec::new();
        match merge_all(&mut model, adapter, &mut merged) {
            Ok(()) => Ok(Self { model, merged, name: adapter.name().to_owned() }),
            Err(error) => Err(Box::new(MergeFailure { model: unmerge_all(model, merged), error })),
        }
    }

    /// The name of the merged adapter.
    pub fn adapter_name(&self) -> &str {
        &self.name
    }

    /// Restores the original model, bit for bit.
    pub fn unmerge(self) -> M {
        unmerge_all(self.model, self.merged)
    }
}

impl<M> Deref for MergedModel<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.model
    }
}

fn merge_all<M: Mergeable>(model: &mut M, adapter: &Adapter, merged: &mut Vec<(Site, Undo)>) -> Result<(), BankError> {
    let parts = [
        (!adapter.bottleneck.is_empty(), "a bottleneck adapter"),
        (adapter.invertible.is_some(), "an invertible adapter"),
        (!adapter.prefix.is_empty(), "prefix tuning"),
        (adapter.prompt.is_some(), "prompt tuning"),
        (!adapter.reft.is_empty(), "ReFT"),
    ];
    if let Some((_, method)) = parts.into_iter().find(|(there, _)| *there) {
        return Err(BankError::NotMergeable { name: adapter.name().to_owned(), method });
    }
    let id = merged_id(adapter);
    let mut matrix = |model: &mut M, site: Site, merge: &dyn Fn(&mut Linear) -> Result<Undo, BankError>| {
        let linear =
            model.linear_mut(site).ok_or_else(|| BankError::NoMatrix { name: adapter.name().to_owned(), site })?;
        if linear.weight.id == id {
            return Err(BankError::AlreadyMerged { name: adapter.name().to_owned(), site });
        }
        merged.push((site, merge(linear)?));
        linear.weight.id = id;
        Ok::<(), BankError>(())
    };
    let failed = |site| move |source| BankError::Lora { site, source };
    for (&site, lora) in adapter.lora.iter() {
        matrix(model, site, &|linear| Merged::merge(lora, linear).map(Undo::Lora).map_err(failed(site)))?;
    }
    for (&site, mtl) in adapter.mtl.iter() {
        matrix(model, site, &|linear| Merged::merge_mtl(mtl, linear).map(Undo::Lora).map_err(failed(site)))?;
    }
    for (&site, ia3) in adapter.ia3.iter() {
        let failed = |source| BankError::Ia3 { site, source };
        matrix(model, site, &|linear| MergedIa3::merge(ia3, linear).map(Undo::Ia3).map_err(failed))?;
    }
    if let Some(shared) = &adapter.vera_shared {
        for (&site, vera) in adapter.vera.iter() {
            let merge = |linear: &mut Linear| Merged::merge_vera(vera, shared, linear);
            matrix(model, site, &|linear| merge(linear).map(Undo::Lora).map_err(failed(site)))?;
        }
    }
    Ok(())
}

fn unmerge_all<M: Mergeable>(mut model: M, merged: Vec<(Site, Undo)>) -> M {
    for (site, original) in merged {
        if let Some(linear) = model.linear_mut(site) {
            match original {
                Undo::Lora(original) => original.unmerge(linear),
                Undo::Ia3(original) => original.unmerge(linear),
            }
        }
    }
    model
}
