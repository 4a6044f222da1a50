//! Formatting, tidiness, lints, documentation.

use crate::process::{Done, cargo, run};
use crate::tidy::tidy;

pub(crate) fn check() -> Done {
    run("formatting", cargo().args(["fmt", "--all", "--", "--check"]))?;
    tidy()?;
    run("clippy", cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    run(
        "documentation",
        cargo().args(["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings"),
    )
}
