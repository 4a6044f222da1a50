//! HTTP: routes, limits, and connections; the pages for people, and the description of the routes.

mod completions;
mod connections;
mod encode;
mod generation;
mod manage;
mod request;

use std::sync::Arc;
use std::sync::mpsc::Sender;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use burn_adapters_chat::ChatTemplate;
use burn_adapters_transformers::{GenerationConfig, Tokenizer};
use serde_json::json;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_http::catch_panic::CatchPanicLayer;

pub(crate) use self::connections::{Listening, serve};
use crate::ServeOptions;
use crate::engine::Command;
use crate::error::{ApiError, json_response};
use crate::metrics::Metrics;
use crate::registry::Registry;

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) options: ServeOptions,
    pub(crate) registry: Registry,
    pub(crate) commands: Sender<Command>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) template: Option<ChatTemplate>,
    pub(crate) generation: GenerationConfig,
    pub(crate) end_ids: Vec<u32>,
    /// The number of tokens that the model knows.
    pub(crate) vocabulary: usize,
    /// Whether the model continues texts.
    pub(crate) generates: bool,
    /// Places in the queue.
    pub(crate) queue: Arc<Semaphore>,
    /// Threads for work that takes long: tokenizing and templates.
    pub(crate) workers: Arc<Semaphore>,
    pub(crate) key: Option<ApiKey>,
    /// The time of the start, in seconds since 1970.
    pub(crate) created: u64,
}

pub(crate) type App = Arc<Shared>;

impl Shared {
    /// A place in the queue.
    fn place(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.queue).try_acquire_owned().map_err(|_| {
            ApiError::overloaded(format!("{} requests are waiting: try again later", self.options.max_queue))
        })
    }

    /// Runs work that takes long outside of the threads that answer.
    async fn work<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Shared) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let worker = Arc::clone(&self.workers).acquire_owned().await.map_err(|_| ApiError::closing())?;
        let shared = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || {
            let _worker = worker;
            work(&shared)
        });
        done.await.unwrap_or_else(|_| Err(ApiError::internal("preparing the request panicked")))
    }
}

/// The digest of an API key. It has no `==`, which would take longer the more of it is right.
pub(crate) struct ApiKey([u8; 32]);

impl ApiKey {
    pub(crate) fn new(key: &str) -> Self {
        Self(Sha256::digest(key.trim().as_bytes()).into())
    }

    /// Whether a request has this key. Digests have one length, and are compared in constant time.
    fn is(&self, given: &str) -> bool {
        Self::new(given).0.ct_eq(&self.0).into()
    }
}

/// All routes, with the methods that they take: the documentation has each of them.
#[cfg(test)]
pub(crate) const ROUTES: [(&str, &str); 16] = [
    ("get", "/"),
    ("get", "/docs"),
    ("get", "/openapi.json"),
    ("get", "/health"),
    ("get", "/metrics"),
    ("get", "/v1/models"),
    ("post", "/v1/chat/completions"),
    ("post", "/v1/completions"),
    ("post", "/v1/embeddings"),
    ("post", "/v1/classify"),
    ("post", "/v1/tag"),
    ("post", "/v1/answer"),
    ("get", "/v1/lora_adapters"),
    ("post", "/v1/load_lora_adapter"),
    ("post", "/v1/unload_lora_adapter"),
    ("post", "/tokenize"),
];

/// The router.
pub(crate) fn router(app: &App) -> Router {
    let mut protected = Router::new()
        .route("/metrics", get(metrics))
        .route("/v1/models", get(models))
        .route("/v1/chat/completions", post(completions::chat))
        .route("/v1/completions", post(completions::completions))
        .route("/v1/embeddings", post(encode::embeddings))
        .route("/v1/classify", post(encode::classify))
        .route("/v1/tag", post(encode::tag))
        .route("/v1/answer", post(encode::answer))
        .route("/tokenize", post(encode::tokenize));
    if app.options.manage {
        protected = protected
            .route("/v1/lora_adapters", get(manage::list))
            .route("/v1/load_lora_adapter", post(manage::load))
            .route("/v1/unload_lora_adapter", post(manage::unload));
    }
    let protected = protected.layer(from_fn_with_state(Arc::clone(app), authorize));
    Router::new()
        .route("/", get(index))
        .route("/docs", get(docs))
        .route("/openapi.json", get(openapi))
        .route("/health", get(health))
        .merge(protected)
        .fallback(|request: Request| async move { ApiError::no_route(request.uri().path()) })
        .method_not_allowed_fallback(|| async { ApiError::wrong_method() })
        .layer(CatchPanicLayer::custom(|_| ApiError::internal("answering the request panicked").into_response()))
        .layer(from_fn_with_state(Arc::clone(app), finish))
        .with_state(Arc::clone(app))
}

/// Lets requests with the API key pass.
async fn authorize(State(app): State<App>, request: Request, next: Next) -> Response {
    if let Some(expected) = &app.key {
        let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.split_once(' '));
        if !given.is_some_and(|(scheme, key)| scheme.eq_ignore_ascii_case("bearer") && expected.is(key)) {
            return ApiError::unauthorized().into_response();
        }
    }
    next.run(request).await
}

/// Counts answers, and keeps browsers from reading more into them than they say.
async fn finish(State(app): State<App>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    app.metrics.answered(response.status().as_u16());
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn health() -> Response {
    json_response(StatusCode::OK, &json!({"status": "ok"}))
}

async fn metrics(State(app): State<App>) -> Response {
    let mut response = Response::new(Body::from(app.metrics.render()));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// The model, and all adapters.
async fn models(State(app): State<App>) -> Response {
    let model = |id: &str, parent: Option<&str>| {
        json!({"id": id, "object": "model", "created": app.created, "owned_by": "burn-adapters", "root": id,
               "parent": parent})
    };
    let base = app.registry.base.as_str();
    let adapters = app.registry.list();
    let adapters = adapters.iter().map(|adapter| model(&adapter.name, Some(base)));
    let data: Vec<_> = std::iter::once(model(base, None)).chain(adapters).collect();
    json_response(StatusCode::OK, &json!({"object": "list", "data": data}))
}

/// The description of all routes, in the form of OpenAPI.
const OPENAPI: &str = include_str!("../../assets/openapi.json");

async fn index() -> Response {
    page(include_str!("../../assets/index.html"))
}

async fn docs() -> Response {
    page(include_str!("../../assets/docs.html"))
}

async fn openapi() -> Response {
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
