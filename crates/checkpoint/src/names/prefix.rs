//! Prefix tuning.
//!
//! The library holds the prefixes of all layers in one pool, and registers this pool again in each layer.

use burn_adapters_core::{Site, join_path};
use burn_adapters_prefix_tuning::PrefixKind;

use super::{Context, Names, linear, one};
use crate::layout::Layout;

pub(super) fn names(path: &str, context: &Context) -> Option<Names> {
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
