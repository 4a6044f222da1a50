//! Compositions of adapters: stacked, fused, split, routed, in parallel, averaged.
//!
//! This crate has no tensors and does not depend on burn. A [`Composition`] names adapters and describes how data flows
//! through them; it knows neither the adapters nor the model. The blocks, their arguments, rules and JSON are those of
//! AdapterHub's Python library `adapters` (`adapters.composition`); [`Composition::Route`] is new.
//!
//! # Building a composition
//!
//! ```
//! use burn_adapters_composition::Composition;
//!
//! let stack = Composition::stack(["language", "task"]);
//! let fuse = Composition::stack([Composition::from("language"), Composition::fuse(["a", "b"]).named("ab")]);
//! let split = Composition::split(["a", "b"], [64, 64]);
//! let batch = Composition::batch_split(["a", "b"], [1, 3]);
//! let parallel = Composition::parallel([Composition::stack(["language", "a"]), "b".into()]);
//! let average = Composition::average(["a", "b"]).with_weights([0.3, 0.7]).without_normalizing();
//! let route = Composition::route([Some("a"), None, Some("b"), Some("a")]);
//!
//! for setup in [stack, fuse, split, batch, parallel, average, route] {
//!     setup.validate()?;
//!     assert_eq!(setup.to_string().parse::<Composition>()?, setup);
//! }
//! # Ok::<(), burn_adapters_composition::CompositionError>(())
//! ```
//!
//! # Text
//!
//! ```text
//! a                                          one adapter
//! Stack(a, Fuse(b, c))                       one after the other; AdapterFusion
//! Fuse(b, c, name=bc)                        a fusion with a name of its own (the default is "b,c")
//! Split(a, b, splits=[48, 80])               parts of the sequence, in tokens; splits=64 for equal ones
//! BatchSplit(a, b, batch_sizes=[1, 3])       parts of the batch, in rows
//! Parallel(a, b)                             the whole batch, once for each
//! Average(a, b, weights=[0.3, 0.7])          divided by their sum, unless normalize_weights=False
//! Route([a, none, b, a])                     each row of the batch names its adapter; Route() gets the rows later
//! 'my adapter', "it's"                       any name, quoted by ' or " (escapes: \' \" \\ \n \r \t \0 \xHH \uHHHH \UHHHHHHHH)
//! ```
//!
//! Letters, digits and `_ - + / . @` need no quotes. Adapters named like a block, `MultiTask`, `none`, `None`, `True`
//! or `False` must be quoted. `Display` writes the shortest text that parses as an equal value.
//!
//! # Validation
//!
//! Any value can be built, written and parsed. [`Composition::validate`] checks the rules: how blocks nest
//! ([`Block::allowed`]), at most three levels of which the third is for stacks only, and lists with one item per child.
//! [`Composition::validate_for_batch`] also checks the sizes of a batch. [`Composition::parse`] parses and validates. A
//! [`CompositionError`] holds the text and every [`Problem`] in it: the position, the path, the kind as a value to
//! match on ([`ProblemKind`]), and the texts: a message, a label for the marked position, help.
//!
//! ```
//! use burn_adapters_composition::Composition;
//!
//! let error = Composition::parse("Stack(a, Fuse(b, Parallel(c, d)), Split(e, f, splits=[64]))").unwrap_err();
//! let told: Vec<_> = error.problems().iter().map(|problem| (problem.place(), problem.message())).collect();
//! assert_eq!(told[0], ("Stack > Fuse > Parallel".into(), "`Parallel` is not allowed in `Fuse`".into()));
//! assert_eq!(told[1], ("Stack > Split".into(), "`splits` has 1 item, but `Split` has 2 children".into()));
//! ```
//!
//! # JSON
//!
//! [`AdapterSetup`] is the reference's `adapter_setup.json`: a composition and a [`HeadSetup`]. Each of the two can be
//! converted to and from its part of the file, as JSON or with serde.
//!
//! ```
//! use burn_adapters_composition::{AdapterSetup, HeadSetup};
//!
//! let text = r#"{
//!   "adapter_setup": {"type": "Stack", "children": [{"type": "single", "children": ["a"]}]},
//!   "head_setup": "a",
//!   "version": "adapters.1.3.0"
//! }"#;
//! let setup = AdapterSetup::from_json_str(text)?;
//! assert_eq!(setup.adapters.to_string(), "Stack(a)");
//! assert_eq!(setup.heads, Some(HeadSetup::from("a")));
//! # Ok::<(), burn_adapters_composition::JsonError>(())
//! ```
//!
//! # Differences from the reference
//!
//! * Equality compares everything; the reference ignores names, sizes, weights and surplus children.
//! * An empty block is an error; in the reference, at the top, it means no adapters.
//! * [`Composition::validate`] has rules beyond nesting, where the reference fails with tensor errors or not at all.
//! * A fusion's name and `normalize_weights=False` are saved; the reference loses both.

mod batch;
mod block;
mod check;
mod composition;
mod display;
mod grammar;
mod heads;
mod json;
mod limits;
mod problem;
mod route;
mod rows;
mod setup;
mod sizes;
mod spans;

pub use block::Block;
pub use composition::Composition;
pub use heads::HeadSetup;
pub use json::JsonError;
pub use problem::{CompositionError, Problem, ProblemKind};
pub use route::Route;
pub use setup::AdapterSetup;
pub use sizes::Sizes;
