//! The rules that every composition must follow, for any model and batch.
//!
//! Nesting and the number of levels follow the reference. The reference accepts some invalid compositions, and fails on
//! them in the forward pass or not at all: empty blocks, lists of the wrong length, sizes of 0, weights that are
//! infinite or sum to 0, and two `Parallel` blocks of different widths in one `Stack`. As in the reference, names may
//! be repeated.

use crate::display;
use crate::grammar::MOST_PROBLEMS;
use crate::limits::{MOST_PARTS, is_too_large};
use crate::problem::ProblemKind;
use crate::problem::{CompositionError, Problem};
use crate::spans::{Part, Spans};
use crate::{Block, Composition};

/// A problem at a part of the descendant that these indices lead to.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) indices: Vec<usize>,
    pub(crate) part: Part,
    pub(crate) kind: ProblemKind,
}

/// The findings so far, and the current position of the search.
#[derive(Debug, Default)]
pub(crate) struct Search {
    pub(crate) indices: Vec<usize>,
    pub(crate) findings: Vec<Finding>,
}

impl Search {
    pub(crate) fn report(&mut self, part: Part, kind: ProblemKind) {
        if self.findings.len() < MOST_PROBLEMS {
            self.findings.push(Finding { indices: self.indices.clone(), part, kind });
        }
    }

    fn report_child(&mut self, index: usize, part: Part, kind: ProblemKind) {
        self.indices.push(index);
        self.report(part, kind);
        self.indices.pop();
    }
}

/// The error for these findings, located in this text, if there are any.
pub(crate) fn located(
    composition: &Composition,
    findings: Vec<Finding>,
    text: impl FnOnce() -> (String, Spans),
) -> Result<(), CompositionError> {
    if findings.is_empty() {
        return Ok(());
    }
    let (text, spans) = text();
    let locate = |finding: Finding| {
        let (span, path) = spans.find(composition, &finding.indices, finding.part);
        Problem { span, path, kind: finding.kind }
    };
    let problems = findings.into_iter().map(locate).collect();
    Err(CompositionError::new(text, problems))
}

/// The text that a composition prints as, and the spans of its parts.
pub(crate) fn printed(composition: &Composition) -> (String, Spans) {
    let mut text = String::new();
    let spans = display::write(composition, &mut text);
    (text, spans)
}

impl Composition {
    /// Checks that the composition is valid: which blocks are nested in which, lists with one item per child, sizes of
    /// at least 1, usable weights. It depends on no model and no batch.
    ///
    /// # Errors
    ///
    /// All problems, at most 20, each with its position in the text that the composition prints as.
    ///
    /// ```
    /// use burn_adapters_composition::Composition;
    ///
    /// let setup = Composition::stack([Composition::from("a"), Composition::fuse([Composition::parallel(["b", "c"])])]);
    /// let error = setup.validate().unwrap_err();
    /// assert_eq!(error.problems()[0].place(), "Stack > Fuse > Parallel");
    /// assert_eq!(error.problems()[0].message(), "`Parallel` is not allowed in `Fuse`");
    /// assert_eq!(error.problems()[0].label(), "expected an adapter or `Stack`");
    /// assert_eq!(&error.text()[error.problems()[0].span.clone()], "Parallel");
    /// ```
    pub fn validate(&self) -> Result<(), CompositionError> {
        if is_too_large(self) {
            // Too large: neither searched nor printed.
            let problem = Problem::new(0..1, ProblemKind::TooMany { limit: MOST_PARTS });
            return Err(CompositionError::new("…", vec![problem]));
        }
        located(self, findings(self), || printed(self))
    }
}

/// Collects the problems of a composition.
pub(crate) fn findings(composition: &Composition) -> Vec<Finding> {
    let mut search = Search::default();
    check(composition, None, 0, &mut search);
    search.findings
}

fn check(composition: &Composition, parent: Option<Block>, level: usize, search: &mut Search) {
    let Some(block) = composition.block() else {
        if matches!(composition, Composition::Adapter(name) if name.is_empty()) {
            search.report(Part::Head, ProblemKind::EmptyName { what: "an adapter" });
        }
        return;
    };
    // Children of a block that is not allowed here are skipped, so the search goes no deeper than the rules.
    if let Some(parent) = parent
        && !parent.allowed().contains(&block)
    {
        return search.report(Part::Head, ProblemKind::Nesting { child: block, parent });
    }
    if level > 1 && block != Block::Stack {
        return search.report(Part::Head, ProblemKind::TooManyLevels { block, level: level + 1 });
    }
    attributes(composition, block, search);
    for (index, child) in composition.children().iter().enumerate() {
        search.indices.push(index);
        check(child, Some(block), level + 1, search);
        search.indices.pop();
    }
}

fn attributes(composition: &Composition, block: Block, search: &mut Search) {
    let children = composition.children();
    if children.is_empty() && block != Block::Route {
        search.report(Part::Head, ProblemKind::NoChildren { block });
    }
    match composition {
        Composition::Stack(children) => stack(children, search),
        Composition::Fuse { name: Some(name), .. } if name.is_empty() => {
            search.report(Part::Argument, ProblemKind::EmptyName { what: "the fusion" });
        }
        Composition::Split { splits, .. } => sizes(block, "splits", splits, children.len(), search),
        Composition::BatchSplit { batch_sizes, .. } => {
            sizes(block, "batch_sizes", batch_sizes, children.len(), search);
        }
        Composition::Average { weights: Some(weights), normalize_weights, .. } => {
            average(weights, *normalize_weights, children.len(), search);
        }
        Composition::Route(route) => {
            for (row, name) in route.rows().iter().enumerate() {
                if name.as_deref() == Some("") {
                    search.report(Part::Item(row), ProblemKind::EmptyName { what: "an adapter" });
                }
            }
        }
        _ => {}
    }
}

fn stack(children: &[Composition], search: &mut Search) {
    let last_parallel = children.iter().rposition(|child| child.block() == Some(Block::Parallel));
    let mut before = None;
    for (index, child) in children.iter().enumerate() {
        match child {
            Composition::Parallel(branches) => {
                let found = branches.len();
                let before = *before.get_or_insert(found);
                if found != before {
                    search.report_child(index, Part::Head, ProblemKind::ParallelMismatch { found, before });
                }
            }
            Composition::BatchSplit { .. } if last_parallel.is_some_and(|last| index < last) && before.is_none() => {
                search.report_child(index, Part::Head, ProblemKind::BatchSplitBeforeParallel);
            }
            _ => {}
        }
    }
}

fn sizes(block: Block, argument: &'static str, sizes: &[usize], children: usize, search: &mut Search) {
    if sizes.len() != children {
        let kind = ProblemKind::Length { block, argument, found: sizes.len(), children };
        search.report(Part::Argument, kind);
    }
    for (index, _) in sizes.iter().enumerate().filter(|(_, size)| **size == 0) {
        search.report(Part::Item(index), ProblemKind::ZeroSize { argument });
    }
}

fn average(weights: &[f64], normalize: bool, children: usize, search: &mut Search) {
    if weights.len() != children {
        let kind = ProblemKind::Length { block: Block::Average, argument: "weights", found: weights.len(), children };
        return search.report(Part::Argument, kind);
    }
    let mut finite = true;
    for (index, weight) in weights.iter().enumerate().filter(|(_, weight)| !weight.is_finite()) {
        finite = false;
        search.report(Part::Item(index), ProblemKind::NotFinite { weight: weight.to_string() });
    }
    let sum: f64 = weights.iter().sum();
    let divided = weights.iter().all(|weight| (weight / sum).is_finite());
    if finite && normalize && !weights.is_empty() && (sum == 0.0 || !sum.is_finite() || !divided) {
        search.report(Part::Argument, ProblemKind::ZeroSum { sum: sum.to_string() });
    }
}
