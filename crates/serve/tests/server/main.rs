//! The server from outside, over loopback, with small random models.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod adapters;
mod common;
mod heads;
mod limits;
mod texts;
