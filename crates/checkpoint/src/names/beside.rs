//! The parts of an adapter that are not at sites: shared parameters, invertible adapters, prefixes and prompts.

use burn_adapters_core::{Site, join_path};
use burn_adapters_prefix_tuning::PrefixKind;

use super::at_sites::matrices;
use super::{Context, Names, linear, one};
use crate::layout::Layout;

/// The parameters that all PHM layers of an adapter share.
pub(super) fn phm_shared(path: &str, context: &Context) -> Option<Names> {
    let (field, part) = path.strip_prefix("phm_shared.")?.split_once('.')?;
    let name = match field {
        "rule" => matrices("phm_rule", part)?,
        "down" => matrices("W_down", part)?,
        "up" => matrices("W_up", part)?,
        _ => return None,
    };
    Some((context.shared(&name), Layout::Same))
}

/// The matrices of VeRA, which all sites share.
pub(super) fn vera_shared(path: &str, context: &Context) -> Option<Names> {
    let local = match path {
        "vera_shared.a" => "lora_A",
        "vera_shared.b" => "lora_B",
        _ => return None,
    };
    Some((context.shared(local), Layout::Transposed))
}

/// The invertible adapter after the embeddings.
pub(super) fn invertible(path: &str, context: &Context) -> Option<Names> {
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

/// Prefix tuning. The library holds the prefixes of all layers in one pool, and registers this pool again in each layer.
pub(super) fn prefix(path: &str, context: &Context) -> Option<Names> {
    let (kind, rest) = path.strip_prefix("prefix.")?.split_once('.')?;
    let (names, name) = (&context.spec.names, context.name);
    if let Some(gate) = rest.strip_prefix("gates.") {
        let (key, parameter) = gate.split_once('.')?;
        let (at, _) = names.attention(Site::from_key(key)?)?;
        return linear(&format!("{at}.prefix_tuning.prefix_gates.{name}"), parameter.strip_prefix("projection.")?);
    }
    let (local, layout) = match rest.strip_prefix("source.")? {
        "Flat" => one("control_trans", Layout::Same)?,
        "Mlp.wte.weight" => one("wte.weight", Layout::Same)?,
        path => {
            let (module, parameter) = path.rsplit_once('.')?;
            match module {
                "Mlp.control_in" => linear("control_trans.0", parameter)?,
                "Mlp.control_out" => linear("control_trans.2", parameter)?,
                _ => return None,
            }
        }
    };
    // All blocks of a kind are in models with one pool, where they share a key.
    let of_kind = |site: &Site| PrefixKind::of(*site, context.spec).name() == kind;
    let site = context.spec.attentions().map(|(site, _)| site).find(of_kind)?;
    let root = names.stack(site.stack)?.root;
    let key = names.attention(site)?.1.prefix_key.unwrap_or(kind);
    let within = format!("prefix_tunings.{name}.{key}.{}", local.first()?);
    let copies = context.spec.attentions().filter_map(|(site, _)| {
        let shares = names.stack(site.stack)?.root == root;
        names.attention(site).filter(|_| shares).map(|(at, _)| format!("{at}.prefix_tuning.pool.{within}"))
    });
    let pool = join_path(root, &format!("prefix_tuning.{within}"));
    Some(([pool].into_iter().chain(copies).collect(), layout))
}

/// Prompt tuning.
pub(super) fn prompt(path: &str, context: &Context) -> Option<Names> {
    match path {
        "prompt.prompt_embedding.weight" => {
            one(format!("prompt_tuning.prompt_tunings.{}.prompt_embedding.weight", context.name), Layout::Same)
        }
        _ => None,
    }
}
