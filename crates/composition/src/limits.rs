//! Size limits of compositions. Anything larger is a mistake or an attack, and is rejected before memory is allocated.

use serde_json::Value;

use crate::Composition;
use crate::json::JsonError;

/// The longest text of a composition, in bytes. It does not include the rows of a route that are given later.
pub(crate) const MOST_BYTES: usize = 1 << 22;

/// The most adapters and blocks of a composition, together.
pub(crate) const MOST_PARTS: usize = 1 << 16;

/// Whether a composition has more parts; takes time linear in the limit.
pub(crate) fn is_too_large(composition: &Composition) -> bool {
    let mut open = vec![composition];
    let mut found = 0usize;
    while let Some(part) = open.pop() {
        found += 1;
        let children = part.children();
        if found + open.len() + children.len() > MOST_PARTS {
            return true;
        }
        open.extend(children);
    }
    false
}

/// Whether a JSON value describes at most this many parts.
pub(crate) fn check_value(value: &Value) -> Result<(), JsonError> {
    let mut open = vec![value];
    let mut found = 0usize;
    while let Some(part) = open.pop() {
        found += 1;
        // In JSON, the name of a single adapter is a child but not an object.
        let children =
            part.get("children").and_then(Value::as_array).into_iter().flatten().filter(|child| child.is_object());
        for child in children {
            open.push(child);
            if found + open.len() > MOST_PARTS {
                return Err(JsonError::TooMany { limit: MOST_PARTS });
            }
        }
    }
    Ok(())
}
