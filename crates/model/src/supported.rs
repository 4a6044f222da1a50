//! The methods that each block supports, checked before a pass.

use burn_adapters_composition::{Block, Composition};

use crate::{Adapter, BankError};

/// The methods of an adapter, and the blocks that support each.
fn methods(adapter: &Adapter) -> impl Iterator<Item = (&'static str, &'static [Block])> {
    use Block::{Average, BatchSplit, Parallel, Route, Stack};
    const ANY: &[Block] = &Block::ALL;
    const WEIGHTS: &[Block] = &[Stack, BatchSplit, Parallel, Average, Route];
    const SEQUENCES: &[Block] = &[Stack, BatchSplit, Parallel, Route];
    let weights =
        !adapter.lora.is_empty() || !adapter.vera.is_empty() || !adapter.mtl.is_empty() || !adapter.ia3.is_empty();
    [
        (!adapter.bottleneck.is_empty(), "a bottleneck", ANY),
        (adapter.invertible.is_some(), "an invertible adapter", ANY),
        (weights, "an adapter of matrices (LoRA and its relatives, (IA)³)", WEIGHTS),
        (!adapter.reft.is_empty(), "ReFT", WEIGHTS),
        (!adapter.prefix.is_empty(), "prefix tuning", SEQUENCES),
        (adapter.prompt.is_some(), "prompt tuning", SEQUENCES),
    ]
    .into_iter()
    .filter_map(|(there, method, blocks)| there.then_some((method, blocks)))
}

/// Rejects blocks that contain a method that they do not support.
pub(crate) fn check<'a>(
    composition: &Composition,
    adapter: &impl Fn(&str) -> Option<&'a Adapter>,
) -> Result<(), BankError> {
    let Some(block) = composition.block() else { return Ok(()) };
    for name in composition.names() {
        let Some(module) = adapter(name) else { continue };
        for (method, allowed) in methods(module) {
            if !allowed.contains(&block) {
                return Err(BankError::NotComposable {
                    block: block.name(),
                    adapter: name.to_owned(),
                    method,
                    allowed: allowed.iter().map(|block| block.name()).collect::<Vec<_>>().join(", "),
                });
            }
        }
    }
    composition.children().iter().try_for_each(|child| check(child, adapter))
}
