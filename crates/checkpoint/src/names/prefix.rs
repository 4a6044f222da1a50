//! Prefix tuning.
//!
//! The library holds the prefixes of all layers in one pool, and registers that pool again in each layer.

use burn_adapters_core::Site;

use super::{Context, Names, linear, one};
use crate::layout::Layout;

pub(super) fn names(path: &str, context: &Context) -> Option<Names> {
    let (kind, rest) = path.strip_prefix("prefix.")?.split_once('.')?;
    let name = context.name;
    if let Some(gate) = rest.strip_prefix("gates.") {
        let (key, parameter) = gate.split_once('.')?;
        let at = context.family.attention(Site::from_key(key)?)?;
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
    let within = format!("prefix_tunings.{name}.{kind}.{}", local.first()?);
    let layers = context.spec.attentions().filter_map(|(site, _)| context.family.attention(site));
    let copies = layers.map(|at| format!("{at}.prefix_tuning.pool.{within}"));
    Some(([format!("prefix_tuning.{within}")].into_iter().chain(copies).collect(), layout))
}
