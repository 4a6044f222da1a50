//! Blocks: the word, and the contents of the brackets.

use std::ops::Range;

use super::{DEPTH_LIMIT, Located, Parser, Value};
use crate::problem::ProblemKind;
use crate::spans::Spans;
use crate::{Block, Composition, Route};
use burn_adapters_diagnostics::{nearest, shortened};

/// The contents of a block's brackets.
#[derive(Debug, Default)]
struct Inside {
    children: Vec<Composition>,
    spans: Vec<Spans>,
    /// The arguments that are given, whether or not they could be parsed.
    given: Vec<&'static str>,
    arguments: Vec<(&'static str, Value)>,
    rows: Option<Value>,
}

impl Inside {
    fn argument(&mut self, name: &str) -> Option<Value> {
        let at = self.arguments.iter().position(|(known, _)| *known == name)?;
        Some(self.arguments.swap_remove(at).1)
    }
}

impl Parser<'_> {
    /// The block of this word, which has been parsed; the next character is its `(`.
    pub(super) fn block(&mut self, word: &str, head: Range<usize>, depth: usize) -> Option<Located> {
        let block = self.kind(word, head.clone());
        let open = self.cursor.at();
        self.cursor.take('(');
        if depth >= DEPTH_LIMIT {
            self.report(head, ProblemKind::TooDeep { limit: DEPTH_LIMIT });
            self.cursor.skip_until(&[')']);
            self.cursor.take(')');
            return None;
        }
        let mut inside = Inside::default();
        loop {
            self.cursor.skip_space();
            if self.cursor.take(')') {
                break;
            }
            if self.cursor.peek().is_none() {
                self.unclosed(open, '(');
                return None;
            }
            if self.full() {
                return None;
            }
            if !self.item(block, &mut inside, depth) {
                self.cursor.skip_until(&[',', ')']);
            }
            self.cursor.skip_space();
            if !self.cursor.take(',') && !matches!(self.cursor.peek(), None | Some(')')) {
                self.expected("`,` or `)`");
                self.cursor.skip_until(&[',', ')']);
                self.cursor.take(',');
            }
        }
        self.build(block?, head, inside)
    }

    fn kind(&mut self, word: &str, span: Range<usize>) -> Option<Block> {
        let block = Block::of_name(word);
        if block.is_none() {
            // Python code may qualify a block with its module.
            let last = word.rsplit('.').next().unwrap_or(word);
            let nearest = match last {
                "MultiTask" => None,
                last => nearest(last, Block::ALL.map(Block::name)),
            };
            self.report(span, ProblemKind::UnknownBlock { name: shortened(word), nearest });
        }
        block
    }

    /// Parses one item; returns whether parsing can continue after it.
    fn item(&mut self, block: Option<Block>, inside: &mut Inside, depth: usize) -> bool {
        if let Some((name, span)) = self.argument() {
            let known = block.and_then(|block| self.argument_name(block, name, span.clone()));
            let is_new = known.is_some_and(|known| !inside.given.contains(&known));
            if let (Some(known), false) = (known, is_new) {
                self.report(span, ProblemKind::DuplicateArgument { argument: known.into() });
            }
            inside.given.extend(known);
            let Some(value) = self.value() else { return false };
            if is_new {
                inside.arguments.extend(known.map(|known| (known, value)));
            }
            return true;
        }
        if block == Some(Block::Route) {
            if self.cursor.peek() != Some('[') || inside.rows.is_some() {
                self.expected(if inside.rows.is_some() {
                    "`)`"
                } else {
                    "the rows in brackets, as in `Route([a, none])`"
                });
                return false;
            }
            inside.rows = self.list().map(|(entries, span)| Value::List { entries, span });
            return inside.rows.is_some();
        }
        let Some((child, spans)) = self.composition(depth + 1) else { return false };
        inside.children.push(child);
        inside.spans.push(spans);
        true
    }

    fn argument_name(&mut self, block: Block, name: &str, span: Range<usize>) -> Option<&'static str> {
        let known = block.arguments();
        if let Some(argument) = known.iter().find(|argument| **argument == name) {
            return Some(argument);
        }
        let nearest = nearest(name, known.iter().copied());
        let elsewhere = Block::ALL.into_iter().find(|other| other.arguments().contains(&name));
        let argument = shortened(name);
        self.report(span, ProblemKind::UnknownArgument { argument, block, nearest, elsewhere });
        None
    }

    fn build(&mut self, block: Block, head: Range<usize>, mut inside: Inside) -> Option<Located> {
        let mut spans = Spans { whole: head.start..self.cursor.at(), head, ..Spans::default() };
        let main = match block {
            Block::Route => inside.rows.take(),
            block => block.arguments().first().and_then(|name| inside.argument(name)),
        };
        if let Some(value) = &main {
            spans.argument = Some(value.span());
            spans.items = value.items();
        }
        if let Some(argument) = block.required().filter(|argument| !inside.given.contains(argument)) {
            self.report(spans.head.clone(), ProblemKind::MissingArgument { block, argument });
        }
        let normalize = inside.argument("normalize_weights");
        let children = inside.children;
        let parts = children.len();
        spans.children = inside.spans;
        let composition = match block {
            Block::Stack => Composition::Stack(children),
            Block::Parallel => Composition::Parallel(children),
            Block::Fuse => Composition::Fuse { children, name: main.and_then(|value| self.name("name", value)) },
            Block::Split => {
                let splits = main.map_or(Vec::new(), |value| self.sizes("splits", &value, parts));
                Composition::Split { children, splits }
            }
            Block::BatchSplit => {
                let batch_sizes = main.map_or(Vec::new(), |value| self.sizes("batch_sizes", &value, parts));
                Composition::BatchSplit { children, batch_sizes }
            }
            Block::Average => Composition::Average {
                children,
                weights: main.and_then(|value| self.weights(&value)),
                normalize_weights: normalize.is_none_or(|value| self.truth("normalize_weights", &value)),
            },
            Block::Route => match main {
                Some(Value::List { entries, .. }) => Composition::Route(Route::new(self.rows(entries))),
                _ => Composition::Route(Route::open()),
            },
        };
        Some((composition, spans))
    }
}
