//! Checks that the tensors at a hook match the model's specification.
//!
//! Inside Burn a mismatch is a panic that names no layer, and a site that is missing from the specification would run
//! without adapters. A hook cannot fail in the middle of a pass: it skips the adapters and records the error, with
//! which [`Hooks::run`](super::Hooks::run) ends.

use burn::tensor::Tensor;
use burn_adapters_composition::Composition;
use burn_adapters_core::{ModelSpec, Norm, Site, StackSpec, SublayerEnd, TokenSpan};
use burn_adapters_prefix_tuning::Attended;

use super::ActiveHooks;
use super::active::Replicated;
use crate::BankError;

impl ActiveHooks<'_> {
    /// The model's specification, if adapters are active.
    fn active_spec(&self) -> Option<&ModelSpec> {
        self.composition.as_ref()?;
        Some(self.bank?.spec())
    }

    /// Compares the two and records an error if they differ; returns whether they are equal.
    pub(super) fn equal<const D: usize>(
        &self,
        at: &dyn std::fmt::Display,
        what: &'static str,
        expected: [usize; D],
        found: [usize; D],
    ) -> bool {
        if expected != found {
            let shown = |sizes: [usize; D]| sizes.map(|size| size.to_string()).join(" x ");
            self.fail(BankError::Misfit { at: at.to_string(), what, expected: shown(expected), found: shown(found) });
        }
        expected == found
    }

    fn unknown_site(&self, site: Site) -> bool {
        let layers = self.bank.and_then(|bank| Some(bank.spec().stack(site.stack)?.layers)).unwrap_or(0);
        self.fail(BankError::UnknownSite { site, layers });
        false
    }

    /// The stack of a site, if it has sites of this kind.
    fn in_stack(
        &self,
        site: Site,
        has: impl FnOnce(&StackSpec) -> bool,
        fits: impl FnOnce(&StackSpec) -> bool,
    ) -> bool {
        let Some(spec) = self.active_spec() else { return true };
        match spec.stack_at(site).filter(|stack| has(stack)) {
            Some(stack) => fits(stack),
            None => self.unknown_site(site),
        }
    }

    pub(super) fn fits_matrix(&self, site: Site, size: [usize; 2]) -> bool {
        let Some(spec) = self.active_spec() else { return true };
        match spec.matrix(site) {
            Some(expected) => self.equal(&site, "a matrix", expected, size),
            None => self.unknown_site(site),
        }
    }

    /// Checks the states at the end of a sublayer, and that the specification has this end.
    pub(super) fn fits_sublayer(
        &self,
        site: Site,
        hidden: &Tensor<3>,
        norm: Option<&dyn Norm>,
        end: SublayerEnd,
    ) -> bool {
        let [_, _, width] = hidden.dims();
        if let Some(expected) = norm.and_then(Norm::width)
            && !self.equal(&site, "hidden states, as the norm reads them,", [expected], [width])
        {
            return false;
        }
        let has = |stack: &StackSpec| stack.sublayers.contains(&site.place);
        self.in_stack(site, has, |stack| {
            let hook = |end| match end {
                SublayerEnd::AfterResidual => "sublayer",
                SublayerEnd::AtProjection => "projected",
            };
            if stack.sublayer_end != end {
                self.fail(BankError::OtherEnd { site, called: hook(end), expected: hook(stack.sublayer_end) });
            }
            stack.sublayer_end == end && self.equal(&site, "hidden states", [stack.hidden_size], [width])
        })
    }

    pub(super) fn fits_layer(&self, site: Site, hidden: &Tensor<3>, tokens: &[TokenSpan]) -> bool {
        let [batch, sequence, width] = hidden.dims();
        self.in_stack(
            site,
            |_| true,
            |stack| {
                self.equal(&site, "hidden states", [stack.hidden_size], [width])
                    && self.fits_tokens(&site, [batch, sequence], tokens)
            },
        )
    }

    pub(super) fn fits_attention(&self, site: Site, attended: &Attended, input: &Tensor<3>) -> bool {
        let [batch, heads, length, head_dim] = attended.keys.dims();
        let has = |stack: &StackSpec| stack.attentions.contains(&site.place);
        self.in_stack(site, has, |stack| {
            let [rows, _, width] = input.dims();
            let of_mask = attended.mask.as_ref().is_none_or(|mask| {
                let [rows, _, _, keys] = mask.dims();
                self.equal(&site, "a mask over the keys", [length], [keys])
                    && (rows == 1 || self.equal(&site, "a mask with rows", [batch], [rows]))
            });
            of_mask
                && self.equal(&site, "keys (heads x width)", [stack.key_value_heads, stack.head_dim], [heads, head_dim])
                && self.equal(&site, "values", attended.keys.dims(), attended.values.dims())
                && self.equal(&site, "an input (rows x width)", [batch, stack.hidden_size], [rows, width])
        })
    }

    /// Checks the embeddings, or the input of the output embeddings.
    pub(super) fn fits_embeddings(&self, embeddings: &Tensor<3>, tokens: Option<&[TokenSpan]>) -> bool {
        let Some(spec) = self.active_spec() else { return true };
        let [batch, sequence, width] = embeddings.dims();
        let at = "the embeddings";
        self.equal(&at, "vectors", [spec.embedding_size], [width])
            && tokens.is_none_or(|tokens| self.fits_tokens(&at, [batch, sequence], tokens))
    }

    /// Checks that there is a token span for each row that lies within the sequences.
    fn fits_tokens(&self, at: &dyn std::fmt::Display, [batch, sequence]: [usize; 2], tokens: &[TokenSpan]) -> bool {
        let longest = tokens.iter().map(TokenSpan::end).max().unwrap_or(0);
        self.equal(at, "token spans", [batch], [tokens.len()])
            && (longest <= sequence || self.equal(at, "sequences", [longest], [sequence]))
    }

    /// Checks that the batch, before it is repeated, has the rows that the composition expects, even if none of its
    /// adapters acts here.
    pub(super) fn fits_rows(&self, rows: usize) -> bool {
        let fits = |composition: &Composition| match composition {
            Composition::Route(route) => self.are_rows("Route", route.rows().len(), rows),
            _ => true,
        };
        match &self.composition {
            Some(Composition::Stack(children)) => children.iter().all(fits),
            Some(composition @ Composition::BatchSplit { batch_sizes, .. }) => {
                fits(composition) && self.are_rows("BatchSplit", batch_sizes.iter().sum(), rows)
            }
            Some(composition) => fits(composition),
            None => true,
        }
    }

    /// Records an error if a block expects another number of rows.
    pub(super) fn are_rows(&self, block: &'static str, expected: usize, found: usize) -> bool {
        if expected != found {
            self.fail(BankError::Rows { block, expected, found });
        }
        expected == found
    }

    /// The factor by which the batch is repeated after a `Parallel`.
    pub(super) fn channels(&self) -> usize {
        match self.replicated {
            Replicated::Never => 1,
            Replicated::AtEmbeddings(channels) | Replicated::AtLayer(_, _, channels) => channels,
        }
    }

    /// Checks that a batch can be split among the branches of a `Parallel`.
    pub(super) fn is_repeated(&self, branches: usize, rows: usize) -> bool {
        // One branch is the batch itself.
        if branches == 1 {
            return true;
        }
        if !self.repeated.load(std::sync::atomic::Ordering::Relaxed) {
            self.fail(BankError::NotRepeated);
            return false;
        }
        if branches == 0 || !rows.is_multiple_of(branches) {
            self.fail(BankError::Rows { block: "Parallel", expected: branches, found: rows });
            return false;
        }
        true
    }
}
