//! Formatting, tidiness, lints, documentation.

use crate::backends::LEARNER;
use crate::process::{Done, cargo, run};
use crate::tidy::tidy;

pub(crate) fn check() -> Done {
    run("formatting", cargo().args(["fmt", "--all", "--", "--check"]))?;
    tidy()?;
    let lint = ["clippy", "--workspace", "--all-targets", "--features", LEARNER, "--", "-D", "warnings"];
    run("clippy", cargo().args(lint))?;
    run(
        "documentation",
        cargo()
            .args(["doc", "--workspace", "--no-deps", "--quiet", "--features", LEARNER])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}
