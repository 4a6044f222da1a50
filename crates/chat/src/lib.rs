//! Conversations, chat templates, and the parts of a text that a model learns.
//!
//! A chat model reads a conversation as one text, in a form that it was trained on. Its chat template, in the language
//! Jinja, writes that text. This crate renders templates as Transformers' `apply_chat_template` does, and reports which
//! parts of the text are the assistant's turns, so that training can learn those alone.
//!
//! * [`Conversation`] holds [`Message`]s and the tools that the model may call.
//! * [`ChatTemplate`] is a parsed template. A template comes from untrusted files, so the work and the memory of a
//!   rendering are limited.
//! * [`Rendered`] is the text with the byte ranges that are learned ([`TrainOn`]).
//!
//! ```
//! use burn_adapters_chat::{ChatTemplate, Conversation, Message, Role, TrainOn};
//!
//! let conversation = Conversation::new([
//!     Message::new(Role::User, "What is the capital of France?"),
//!     Message::new(Role::Assistant, "Paris."),
//! ]);
//! let rendered = ChatTemplate::chatml().render_trained(&conversation, TrainOn::Assistant)?;
//! let learned: Vec<&str> = rendered.trained.iter().map(|span| &rendered.text[span.clone()]).collect();
//! assert_eq!(learned, ["Paris.<|im_end|>\n"]);
//! # Ok::<(), burn_adapters_chat::ChatError>(())
//! ```

mod conversation;
mod environment;
mod error;
mod json;
mod message;
mod nesting;
mod python;
mod spans;
mod tags;
mod template;
mod tojson;

pub use conversation::Conversation;
pub use error::ChatError;
pub use json::Json;
pub use message::{Message, Role};
pub use spans::{Rendered, TrainOn};
pub use template::{ChatTemplate, Clock, SpecialTokens};
