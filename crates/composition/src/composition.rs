//! Compositions: adapters, and blocks of adapters.

use std::collections::HashSet;

use crate::{Block, Route, Sizes};

/// How adapters work together in one model.
///
/// Compositions are plain values: any composition can be built, printed, parsed and compared. [`Composition::validate`]
/// checks whether it is valid.
///
/// ```
/// use burn_adapters_composition::Composition;
///
/// let setup = Composition::stack([Composition::from("language"), Composition::fuse(["b", "c"]).named("bc")]);
/// assert_eq!(setup.to_string(), "Stack(language, Fuse(b, c, name=bc))");
/// assert_eq!(setup, "Stack(language, Fuse(b, c, name=bc))".parse()?);
/// setup.validate()?;
/// # Ok::<(), burn_adapters_composition::CompositionError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Composition {
    /// An adapter, by name.
    Adapter(String),
    /// The children run one after the other, each on the output of the one before.
    Stack(Vec<Composition>),
    /// AdapterFusion: an attention layer weighs the outputs of the children, token by token.
    Fuse {
        /// The children to fuse.
        children: Vec<Composition>,
        /// The name of the fusion layer; by default derived from the children, see [`Composition::fusion_name`].
        name: Option<String>,
    },
    /// The sequence is split; each child processes one part.
    Split {
        /// The children, one per part.
        children: Vec<Composition>,
        /// The lengths of the parts in tokens, one per child.
        splits: Vec<usize>,
    },
    /// The batch is split; each child processes some of its rows.
    BatchSplit {
        /// The children, one per part.
        children: Vec<Composition>,
        /// The numbers of rows, one per child.
        batch_sizes: Vec<usize>,
    },
    /// The batch is repeated; each child processes all of it.
    Parallel(Vec<Composition>),
    /// The outputs of the children are averaged.
    Average {
        /// The children to average.
        children: Vec<Composition>,
        /// The weights as given; `None` for equal weights. [`Composition::average_weights`] returns the weights in use.
        weights: Option<Vec<f64>>,
        /// Whether the weights are divided by their sum.
        normalize_weights: bool,
    },
    /// Each row of the batch goes through its own adapter, or through none.
    Route(Route),
}

impl From<&str> for Composition {
    /// An adapter of this name. (To parse a *text* such as `Stack(a, b)`, use `parse`.)
    fn from(name: &str) -> Self {
        Self::Adapter(name.into())
    }
}

impl From<&String> for Composition {
    fn from(name: &String) -> Self {
        Self::Adapter(name.clone())
    }
}

impl From<String> for Composition {
    fn from(name: String) -> Self {
        Self::Adapter(name)
    }
}

impl From<Route> for Composition {
    fn from(route: Route) -> Self {
        Self::Route(route)
    }
}

fn collect<C: Into<Composition>>(children: impl IntoIterator<Item = C>) -> Vec<Composition> {
    children.into_iter().map(Into::into).collect()
}

/// Builders. Children are names or compositions.
impl Composition {
    /// An adapter.
    pub fn adapter(name: impl Into<String>) -> Self {
        Self::Adapter(name.into())
    }

    /// Children that run one after the other.
    ///
    /// ```
    /// # use burn_adapters_composition::Composition;
    /// assert_eq!(Composition::stack(["a", "b"]).to_string(), "Stack(a, b)");
    /// ```
    pub fn stack<C: Into<Self>>(children: impl IntoIterator<Item = C>) -> Self {
        Self::Stack(collect(children))
    }

    /// AdapterFusion.
    pub fn fuse<C: Into<Self>>(children: impl IntoIterator<Item = C>) -> Self {
        Self::Fuse { children: collect(children), name: None }
    }

    /// Names the fusion layer of a [`Composition::Fuse`]. Other compositions have no name and are unchanged.
    pub fn named(mut self, fusion: impl Into<String>) -> Self {
        if let Self::Fuse { name, .. } = &mut self {
            *name = Some(fusion.into());
        }
        self
    }

    /// Splits the sequence among the children: a length in tokens for each, or one for all.
    ///
    /// ```
    /// # use burn_adapters_composition::Composition;
    /// assert_eq!(Composition::split(["a", "b"], [48, 80]).to_string(), "Split(a, b, splits=[48, 80])");
    /// assert_eq!(Composition::split(["a", "b"], 64).to_string(), "Split(a, b, splits=64)");
    /// ```
    pub fn split<C: Into<Self>>(children: impl IntoIterator<Item = C>, splits: impl Into<Sizes>) -> Self {
        let children = collect(children);
        let splits = splits.into().for_parts(children.len());
        Self::Split { children, splits }
    }

    /// Splits the batch among the children: a number of rows for each, or one for all.
    pub fn batch_split<C: Into<Self>>(children: impl IntoIterator<Item = C>, batch_sizes: impl Into<Sizes>) -> Self {
        let children = collect(children);
        let batch_sizes = batch_sizes.into().for_parts(children.len());
        Self::BatchSplit { children, batch_sizes }
    }

    /// Runs each child on the whole batch.
    pub fn parallel<C: Into<Self>>(children: impl IntoIterator<Item = C>) -> Self {
        Self::Parallel(collect(children))
    }

    /// Averages the children's outputs, with equal weights unless [`Composition::with_weights`] sets others.
    ///
    /// ```
    /// # use burn_adapters_composition::Composition;
    /// let average = Composition::average(["a", "b"]).with_weights([1.0, 3.0]);
    /// assert_eq!(average.average_weights(), Some(vec![0.25, 0.75]));
    /// assert_eq!(average.without_normalizing().average_weights(), Some(vec![1.0, 3.0]));
    /// ```
    pub fn average<C: Into<Self>>(children: impl IntoIterator<Item = C>) -> Self {
        Self::Average { children: collect(children), weights: None, normalize_weights: true }
    }

    /// Sets the weights of a [`Composition::Average`]. Other compositions have none and are unchanged.
    pub fn with_weights(mut self, given: impl IntoIterator<Item = f64>) -> Self {
        if let Self::Average { weights, .. } = &mut self {
            *weights = Some(given.into_iter().collect());
        }
        self
    }

    /// Uses the weights of a [`Composition::Average`] as given, whatever their sum. Other compositions are unchanged.
    pub fn without_normalizing(mut self) -> Self {
        if let Self::Average { normalize_weights, .. } = &mut self {
            *normalize_weights = false;
        }
        self
    }

    /// Sends each row of the batch through its own adapter, or through none.
    ///
    /// ```
    /// # use burn_adapters_composition::Composition;
    /// let route = Composition::route([Some("a"), None, Some("b")]);
    /// assert_eq!(route.to_string(), "Route([a, none, b])");
    /// ```
    pub fn route<S: Into<String>>(rows: impl IntoIterator<Item = Option<S>>) -> Self {
        Self::Route(Route::new(rows))
    }

    /// A route whose rows are given later, with [`Composition::with_rows`].
    pub fn open_route() -> Self {
        Self::Route(Route::open())
    }

    /// Fills in these rows in each open route.
    ///
    /// ```
    /// # use burn_adapters_composition::Composition;
    /// let setup = Composition::stack([Composition::from("language"), Composition::open_route()]);
    /// let called = setup.with_rows(&[Some("a".to_owned()), None]);
    /// assert_eq!(called.to_string(), "Stack(language, Route([a, none]))");
    /// ```
    pub fn with_rows(&self, rows: &[Option<String>]) -> Self {
        let mut filled = self.clone();
        filled.fill_rows(rows);
        filled
    }

    fn fill_rows(&mut self, rows: &[Option<String>]) {
        match self {
            Self::Route(route) if route.is_open() => *route = Route::new(rows.iter().cloned()),
            other => {
                for child in other.children_mut() {
                    child.fill_rows(rows);
                }
            }
        }
    }
}

/// Questions.
impl Composition {
    /// The kind of block; `None` for an adapter.
    pub fn block(&self) -> Option<Block> {
        match self {
            Self::Adapter(_) => None,
            Self::Stack(_) => Some(Block::Stack),
            Self::Fuse { .. } => Some(Block::Fuse),
            Self::Split { .. } => Some(Block::Split),
            Self::BatchSplit { .. } => Some(Block::BatchSplit),
            Self::Parallel(_) => Some(Block::Parallel),
            Self::Average { .. } => Some(Block::Average),
            Self::Route(_) => Some(Block::Route),
        }
    }

    /// The children of a block. Adapters and routes have none.
    pub fn children(&self) -> &[Composition] {
        match self {
            Self::Stack(children)
            | Self::Parallel(children)
            | Self::Fuse { children, .. }
            | Self::Split { children, .. }
            | Self::BatchSplit { children, .. }
            | Self::Average { children, .. } => children,
            Self::Adapter(_) | Self::Route(_) => &[],
        }
    }

    pub(crate) fn children_mut(&mut self) -> &mut [Composition] {
        match self {
            Self::Stack(children)
            | Self::Parallel(children)
            | Self::Fuse { children, .. }
            | Self::Split { children, .. }
            | Self::BatchSplit { children, .. }
            | Self::Average { children, .. } => children,
            Self::Adapter(_) | Self::Route(_) => &mut [],
        }
    }

    /// The number of parts: the children of a block, the rows of a route, 1 for an adapter.
    pub fn len(&self) -> usize {
        match self {
            Self::Adapter(_) => 1,
            Self::Route(route) => route.rows().len(),
            block => block.children().len(),
        }
    }

    /// Whether there are no parts: a block without children, which [`Composition::validate`] rejects, or an open route.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The adapters in the order of the text, each listed once.
    ///
    /// ```
    /// # use burn_adapters_composition::Composition;
    /// let setup: Composition = "Parallel(Stack(language, b), Stack(language, a))".parse()?;
    /// assert_eq!(setup.names(), ["language", "b", "a"]);
    /// # Ok::<(), burn_adapters_composition::CompositionError>(())
    /// ```
    pub fn names(&self) -> Vec<&str> {
        let mut seen = HashSet::new();
        let mut names = Vec::new();
        self.visit_names(&mut |name| {
            if seen.insert(name) {
                names.push(name);
            }
        });
        names
    }

    fn visit_names<'a>(&'a self, visit: &mut impl FnMut(&'a str)) {
        match self {
            Self::Adapter(name) => visit(name),
            Self::Route(route) => route.rows().iter().flatten().for_each(|name| visit(name)),
            block => block.children().iter().for_each(|child| child.visit_names(visit)),
        }
    }

    /// Whether an adapter of this name is used.
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Self::Adapter(adapter) => adapter == name,
            Self::Route(route) => route.rows().iter().flatten().any(|adapter| adapter == name),
            block => block.children().iter().any(|child| child.contains(name)),
        }
    }

    /// The first adapter; for a route, that of the first row that has one. `None` if there is none.
    pub fn first(&self) -> Option<&str> {
        match self {
            Self::Adapter(name) => Some(name),
            Self::Route(route) => route.rows().iter().flatten().next().map(String::as_str),
            block => block.children().first().and_then(Self::first),
        }
    }

    /// The last adapter; for a route, that of the last row that has one. `None` if there is none.
    ///
    /// ```
    /// # use burn_adapters_composition::Composition;
    /// let setup = Composition::stack([Composition::from("a"), Composition::fuse(["b", "c"])]);
    /// assert_eq!((setup.first(), setup.last()), (Some("a"), Some("c")));
    /// ```
    pub fn last(&self) -> Option<&str> {
        match self {
            Self::Adapter(name) => Some(name),
            Self::Route(route) => route.rows().iter().rev().flatten().next().map(String::as_str),
            block => block.children().last().and_then(Self::last),
        }
    }

    /// The factor by which the batch is repeated: the number of children of a `Parallel`, otherwise 1.
    ///
    /// ```
    /// # use burn_adapters_composition::Composition;
    /// let setup: Composition = "Stack(a, Parallel(b, c, d))".parse()?;
    /// assert_eq!(setup.parallel_channels(), 3);
    /// # Ok::<(), burn_adapters_composition::CompositionError>(())
    /// ```
    pub fn parallel_channels(&self) -> usize {
        match self {
            Self::Parallel(children) => children.len(),
            other => other.children().iter().map(Self::parallel_channels).max().unwrap_or(1),
        }
    }

    /// The name of the fusion layer of a [`Composition::Fuse`]: the given name, or by default the last adapter of each
    /// child, joined by commas. `None` for every other composition.
    ///
    /// ```
    /// # use burn_adapters_composition::Composition;
    /// let fuse = Composition::fuse([Composition::stack(["a", "b"]), "c".into()]);
    /// assert_eq!(fuse.fusion_name().as_deref(), Some("b,c"));
    /// assert_eq!(fuse.named("bc").fusion_name().as_deref(), Some("bc"));
    /// ```
    pub fn fusion_name(&self) -> Option<String> {
        match self {
            Self::Fuse { name: Some(name), .. } if !name.is_empty() => Some(name.clone()),
            Self::Fuse { children, .. } => {
                let names: Vec<_> = children.iter().map(|child| child.last().unwrap_or("")).collect();
                Some(names.join(","))
            }
            _ => None,
        }
    }

    /// The names of the fusion layers in the order of the text, each listed once.
    ///
    /// ```
    /// # use burn_adapters_composition::Composition;
    /// let setup = Composition::stack([Composition::from("a"), Composition::fuse(["b", "c"])]);
    /// assert_eq!(setup.fusions(), ["b,c"]);
    /// ```
    pub fn fusions(&self) -> Vec<String> {
        let mut names = Vec::new();
        self.visit(&mut |composition| names.extend(composition.fusion_name()));
        let mut seen = HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names
    }

    /// Calls `visit` with this composition and all its descendants, parents before their children.
    pub fn visit<'a>(&'a self, visit: &mut impl FnMut(&'a Composition)) {
        visit(self);
        for child in self.children() {
            child.visit(visit);
        }
    }

    /// The weights that a [`Composition::Average`] uses, one per child: equal weights if none are given, divided by
    /// their sum unless that is turned off. `None` for every other composition.
    ///
    /// Weights that sum to 1, up to rounding, are used as they are. Weights that [`Composition::validate`] rejects may
    /// give results that are not finite.
    pub fn average_weights(&self) -> Option<Vec<f64>> {
        let Self::Average { children, weights, normalize_weights } = self else { return None };
        let Some(weights) = weights else {
            return Some(vec![1.0 / children.len() as f64; children.len()]);
        };
        let sum: f64 = weights.iter().sum();
        let is_one = (sum - 1.0).abs() <= weights.len() as f64 * f64::EPSILON;
        if is_one || !normalize_weights {
            return Some(weights.clone());
        }
        Some(weights.iter().map(|weight| weight / sum).collect())
    }
}
