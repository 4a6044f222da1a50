//! A composition for other rows, or for a part of its adapters.

use burn_adapters_composition::{Composition, Route};

/// The composition for positions as rows, given the lengths of the original rows; `None` if it repeats or splits rows
/// in a way that this cannot express.
pub(super) fn by_position(composition: &Composition, lengths: &[usize]) -> Option<Composition> {
    let each =
        |children: &[Composition]| children.iter().map(|child| by_position(child, lengths)).collect::<Option<_>>();
    Some(match composition {
        Composition::Adapter(_) => composition.clone(),
        Composition::Stack(children) => Composition::Stack(each(children)?),
        Composition::Fuse { children, name } => Composition::Fuse { children: each(children)?, name: name.clone() },
        Composition::Average { children, weights, normalize_weights } => Composition::Average {
            children: each(children)?,
            weights: weights.clone(),
            normalize_weights: *normalize_weights,
        },
        Composition::BatchSplit { children, batch_sizes } => {
            let mut first = 0;
            let (mut parts, mut sizes) = (Vec::new(), Vec::new());
            for (child, size) in children.iter().zip(batch_sizes) {
                let lengths = lengths.get(first..first + size)?;
                parts.push(by_position(child, lengths)?);
                sizes.push(lengths.iter().sum());
                first += size;
            }
            (first == lengths.len()).then_some(Composition::BatchSplit { children: parts, batch_sizes: sizes })?
        }
        Composition::Route(route) if route.rows().len() == lengths.len() => {
            let rows = route.rows().iter().zip(lengths);
            Composition::Route(Route::new(rows.flat_map(|(row, length)| std::iter::repeat_n(row.clone(), *length))))
        }
        Composition::Route(_) | Composition::Split { .. } | Composition::Parallel(_) => return None,
    })
}

/// Of several adapters in a `Stack`, only the first has its invertible adapter used, as in the reference.
pub(super) fn only_first(composition: &Composition) -> Composition {
    let each = |children: &[Composition]| children.iter().map(only_first).collect::<Vec<_>>();
    match composition {
        Composition::Stack(children) if !children.is_empty() => only_first(&children[0]),
        Composition::BatchSplit { children, batch_sizes } => {
            Composition::BatchSplit { children: each(children), batch_sizes: batch_sizes.clone() }
        }
        Composition::Parallel(children) => Composition::Parallel(each(children)),
        Composition::Adapter(_) | Composition::Route(_) => composition.clone(),
        composition => match composition.first() {
            Some(first) => Composition::Adapter(first.to_owned()),
            None => composition.clone(),
        },
    }
}

/// The adapter whose invertible adapter acts on a row, of `batch` in all.
pub(super) fn first_at(composition: &Composition, row: usize, batch: usize) -> Option<String> {
    match composition {
        Composition::Adapter(name) => Some(name.clone()),
        Composition::Stack(children) => first_at(children.first()?, row, batch),
        Composition::BatchSplit { children, batch_sizes } => {
            let mut start = 0;
            for (child, size) in children.iter().zip(batch_sizes) {
                if row < start + size {
                    return first_at(child, row - start, *size);
                }
                start += size;
            }
            None
        }
        Composition::Parallel(children) => {
            let size = batch / children.len().max(1);
            first_at(children.get(row / size.max(1))?, row % size.max(1), size)
        }
        Composition::Route(route) => route.rows().get(row).cloned().flatten(),
        composition => composition.first().map(str::to_owned),
    }
}
