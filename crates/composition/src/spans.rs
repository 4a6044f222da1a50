//! The spans of a composition's parts in a text.

use std::ops::Range;

use crate::Composition;

/// The spans of one composition. Both the writer and the parser create them, so that a broken rule can be shown in the
/// parsed text or in the text that a value prints as.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Spans {
    /// The whole composition.
    pub(crate) whole: Range<usize>,
    /// The block's word, or the adapter's name.
    pub(crate) head: Range<usize>,
    pub(crate) children: Vec<Spans>,
    /// The value of `splits`, `batch_sizes`, `weights` or `name`; the list of a route.
    pub(crate) argument: Option<Range<usize>>,
    /// The items of that value, if it is a list.
    pub(crate) items: Vec<Range<usize>>,
}

/// A part of one composition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Head,
    Argument,
    Item(usize),
}

impl Spans {
    fn part(&self, part: Part) -> Range<usize> {
        let argument = || self.argument.clone().unwrap_or_else(|| self.head.clone());
        match part {
            Part::Head => self.head.clone(),
            Part::Argument => argument(),
            Part::Item(index) => self.items.get(index).cloned().unwrap_or_else(argument),
        }
    }

    /// The span of a part of the descendant that these indices lead to, and the path of block names to it.
    pub(crate) fn find(&self, root: &Composition, indices: &[usize], part: Part) -> (Range<usize>, Vec<String>) {
        let (mut spans, mut composition) = (self, root);
        let mut path = vec![word(root)];
        for &index in indices {
            let (Some(below), Some(child)) = (spans.children.get(index), composition.children().get(index)) else {
                break;
            };
            (spans, composition) = (below, child);
            path.push(word(child));
        }
        (spans.part(part), path)
    }
}

fn word(composition: &Composition) -> String {
    match composition {
        Composition::Adapter(name) => crate::display::quoted(name),
        block => block.block().map_or("", |block| block.name()).to_owned(),
    }
}
