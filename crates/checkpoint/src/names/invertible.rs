//! The invertible adapter after the embeddings.

use super::{Context, Names, linear};

pub(super) fn names(path: &str, context: &Context) -> Option<Names> {
    let (module, kind) = path.strip_prefix("invertible.")?.rsplit_once('.')?;
    let (network, layer) = module.rsplit_once('.')?;
    let network = match network {
        "Nice.f" => "F",
        "Nice.g" => "G",
        "Glow.s1" => "s1",
        "Glow.s2" => "s2",
        _ => return None,
    };
    // The activation between the two is number 1.
    let index = match layer {
        "down" => 0,
        "up" => 2,
        _ => return None,
    };
    let (local, layout) = linear(&format!("{network}.{index}"), kind)?;
    let within = context.within(context.spec.names.invertible, "invertible_adapters");
    let names = within.iter().flat_map(|module| local.iter().map(move |local| format!("{module}.{local}")));
    Some((names.collect(), layout))
}
