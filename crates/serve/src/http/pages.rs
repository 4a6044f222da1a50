//! The pages for people, and the description of the routes.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;

/// The description of all routes, in the form of OpenAPI.
pub(crate) const OPENAPI: &str = include_str!("../../assets/openapi.json");

pub(super) async fn index() -> Response {
    page(include_str!("../../assets/index.html"))
}

pub(super) async fn docs() -> Response {
    page(include_str!("../../assets/docs.html"))
}

pub(super) async fn openapi() -> Response {
    typed(OPENAPI, "application/json")
}

/// A page that loads nothing from anywhere else.
fn page(text: &'static str) -> Response {
    let mut response = typed(text, "text/html; charset=utf-8");
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                  base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

fn typed(text: &'static str, kind: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::http::ROUTES;

    #[test]
    fn every_route_is_described() {
        let value: Value = serde_json::from_str(OPENAPI).unwrap();
        let described = value["paths"].as_object().unwrap().iter().flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(move |method| (method.clone(), path.clone()))
        });
        let routes = ROUTES.iter().map(|(method, path)| ((*method).to_owned(), (*path).to_owned()));
        assert_eq!(described.collect::<BTreeSet<_>>(), routes.collect());
    }
}
