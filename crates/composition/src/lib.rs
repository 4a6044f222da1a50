//! How adapters are put together: stacked, fused, split, routed, run in parallel, averaged.
//!
//! No tensors here, and no burn. A [`Composition`] names adapters and says what goes through which; it knows neither
//! the adapters nor the model. The blocks, their arguments, their rules and their JSON are those of AdapterHub's Python
//! library `adapters` (`adapters.composition`); [`Composition::Route`] is new.
//!
//! # Making one
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
//! Letters, digits and `_ - + / . @` need no quotes; the blocks' names, `MultiTask`, `none`, `None`, `True` and
//! `False` do, if adapters are called so. `Display` writes the shortest text that is read as an equal value.
//!
//! # What makes sense
//!
//! Any value can be made, written and read. [`Composition::validate`] says whether it makes sense (which block may stand
//! in which: [`Block::allowed`]; no more than three levels, the third of stacks only; lists of the children's number),
//! [`Composition::validate_for_batch`] whether it fits a batch, and [`Composition::parse`] reads and validates.
//! A [`CompositionError`] holds the text and every [`Problem`] in it: the place, the way there, the kind as a value to
//! match on ([`ProblemKind`]), and words: a message, a label for the caret, help.
//!
//! ```
//! use burn_adapters_composition::Composition;
//!
//! let error = Composition::parse("Stack(a, Fuse(b, Parallel(c, d)), Split(e, f, splits=[64]))").unwrap_err();
//! let told: Vec<_> = error.problems().iter().map(|problem| (problem.place(), problem.message())).collect();
//! assert_eq!(told[0], ("Stack > Fuse > Parallel".into(), "`Parallel` cannot stand in `Fuse`".into()));
//! assert_eq!(told[1], ("Stack > Split".into(), "`splits` has 1 item, but `Split` has 2 children".into()));
//! ```
//!
//! # JSON
//!
//! [`AdapterSetup`] is the reference's `adapter_setup.json`: a composition and a [`HeadSetup`]. Compositions and head
//! setups have their part of it as JSON, and by serde.
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
//! # Where this differs from the reference
//!
//! * Equal means equal: there, names, sizes, weights and surplus children are not compared.
//! * An empty block is an error; there, at the top, it means no adapters at all.
//! * The rules at [`Composition::validate`] that go beyond nesting; there, they end in errors of tensors, or in none.
//! * A fusion's name and `normalize_weights=False` survive saving; there, both are forgotten.

mod batch;
mod block;
mod check;
mod composition;
mod display;
mod error;
mod grammar;
mod heads;
mod json;
mod limits;
mod problem;
mod route;
mod setup;
mod sizes;
mod spans;

pub use block::Block;
pub use composition::Composition;
pub use error::{CompositionError, Problem};
pub use heads::HeadSetup;
pub use json::JsonError;
pub use problem::ProblemKind;
pub use route::Route;
pub use setup::AdapterSetup;
pub use sizes::Sizes;
