//! A composition: adapters and blocks of them.

use std::collections::HashSet;

use crate::{Block, Route, Sizes};

/// How adapters work together in one model.
///
/// Compositions are plain values: any can be made, printed, read and compared. Which make sense is said by
/// [`Composition::validate`].
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
    /// One adapter, by its name.
    Adapter(String),
    /// One after the other: each gets what the one before it gives.
    Stack(Vec<Composition>),
    /// AdapterFusion: an attention layer of its own weighs the outputs of the children, token by token.
    Fuse {
        /// What is fused.
        children: Vec<Composition>,
        /// The fusion layer's name; by default made of the children's, see [`Composition::fusion_name`].
        name: Option<String>,
    },
    /// The sequence is cut; each child gets one part of it.
    Split {
        /// What the parts go through.
        children: Vec<Composition>,
        /// The lengths of the parts, in tokens; one for each child.
        splits: Vec<usize>,
    },
    /// The batch is cut; each child gets some of its rows.
    BatchSplit {
        /// What the parts go through.
        children: Vec<Composition>,
        /// The numbers of rows; one for each child.
        batch_sizes: Vec<usize>,
    },
    /// The batch is repeated; each child gets all of it.
    Parallel(Vec<Composition>),
    /// The outputs of the children are averaged.
    Average {
        /// What is averaged.
        children: Vec<Composition>,
        /// The weights as given; `None` for equal ones. [`Composition::average_weights`] has those that are used.
        weights: Option<Vec<f64>>,
        /// Whether the weights are divided by their sum.
        normalize_weights: bool,
    },
    /// Each row of the batch goes through its own adapter, or through none.
    Route(Route),
}

impl From<&str> for Composition {
    /// The adapter of this name. (A *text* such as `Stack(a, b)` is read by `parse`.)
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
    /// One adapter.
    pub fn adapter(name: impl Into<String>) -> Self {
        Self::Adapter(name.into())
    }

    /// One after the other.
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

    /// Gives a [`Composition::Fuse`] the name of its fusion layer. Other compositions have no name, and stay as they
    /// are.
    pub fn named(mut self, fusion: impl Into<String>) -> Self {
        if let Self::Fuse { name, .. } = &mut self {
            *name = Some(fusion.into());
        }
        self
    }

    /// Each child gets a part of the sequence, in tokens: a length for each, or one for all.
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

    /// Each child gets some rows of the batch: a number for each, or one for all.
    pub fn batch_split<C: Into<Self>>(children: impl IntoIterator<Item = C>, batch_sizes: impl Into<Sizes>) -> Self {
        let children = collect(children);
        let batch_sizes = batch_sizes.into().for_parts(children.len());
        Self::BatchSplit { children, batch_sizes }
    }

    /// Each child gets the whole batch.
    pub fn parallel<C: Into<Self>>(children: impl IntoIterator<Item = C>) -> Self {
        Self::Parallel(collect(children))
    }

    /// The average of the children's outputs; the plain one, unless [`Composition::with_weights`] says otherwise.
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

    /// Gives a [`Composition::Average`] its weights. Other compositions have none, and stay as they are.
    pub fn with_weights(mut self, given: impl IntoIterator<Item = f64>) -> Self {
        if let Self::Average { weights, .. } = &mut self {
            *weights = Some(given.into_iter().collect());
        }
        self
    }

    /// Leaves the weights of a [`Composition::Average`] as they are given, whatever their sum. Other compositions stay
    /// as they are.
    pub fn without_normalizing(mut self) -> Self {
        if let Self::Average { normalize_weights, .. } = &mut self {
            *normalize_weights = false;
        }
        self
    }

    /// Each row of the batch names its adapter, or none.
    ///
    /// ```
    /// # use burn_adapters_composition::Composition;
    /// let route = Composition::route([Some("a"), None, Some("b")]);
    /// assert_eq!(route.to_string(), "Route([a, none, b])");
    /// ```
    pub fn route<S: Into<String>>(rows: impl IntoIterator<Item = Option<S>>) -> Self {
        Self::Route(Route::new(rows))
    }

    /// A route whose rows come with the call, by [`Composition::with_rows`].
    pub fn open_route() -> Self {
        Self::Route(Route::open())
    }

    /// This composition with these rows in each of its open routes.
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

    fn children_mut(&mut self) -> &mut [Composition] {
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

    /// How many parts it has: the children of a block, the rows of a route, 1 for an adapter.
    pub fn len(&self) -> usize {
        match self {
            Self::Adapter(_) => 1,
            Self::Route(route) => route.rows().len(),
            block => block.children().len(),
        }
    }

    /// Whether it has no parts: a block without children, which [`Composition::validate`] refuses, or an open route.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The adapters, each once, in the order of the text.
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

    /// Whether an adapter of this name takes part.
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Self::Adapter(adapter) => adapter == name,
            Self::Route(route) => route.rows().iter().flatten().any(|adapter| adapter == name),
            block => block.children().iter().any(|child| child.contains(name)),
        }
    }

    /// The first adapter; that of the first row that has one, for a route. `None` if there is none.
    pub fn first(&self) -> Option<&str> {
        match self {
            Self::Adapter(name) => Some(name),
            Self::Route(route) => route.rows().iter().flatten().next().map(String::as_str),
            block => block.children().first().and_then(Self::first),
        }
    }

    /// The last adapter; that of the last row that has one, for a route. `None` if there is none.
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

    /// How many times the batch is repeated: the number of children of a `Parallel`, 1 without one.
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

    /// The name of the fusion layer of a [`Composition::Fuse`]: the given one, else the last adapter of each child,
    /// joined by commas. `None` for everything else.
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

    /// The fusion layers that take part, by name, each once, in the order of the text.
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

    /// Calls `visit` with this composition and everything in it, parents before their children.
    pub fn visit<'a>(&'a self, visit: &mut impl FnMut(&'a Composition)) {
        visit(self);
        for child in self.children() {
            child.visit(visit);
        }
    }

    /// The weights with which a [`Composition::Average`] averages, one for each child: equal ones if none are given,
    /// divided by their sum unless that is turned off. `None` for everything else.
    ///
    /// Weights that sum to 1, up to rounding, are used as they are. Those that [`Composition::validate`] refuses give
    /// numbers that are not finite.
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
