//! Errors: of the server, and of requests in OpenAI's shape.

use std::path::PathBuf;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use thiserror::Error;

/// A server that cannot start, or that failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A model that the server cannot use.
    #[error("{0}")]
    Model(String),
    /// An adapter that cannot be served.
    #[error("the adapter `{name}`: {problem}")]
    Adapter {
        /// Its name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A limit that lets nothing through.
    #[error("{name} must be at least 1, found 0")]
    Limit {
        /// The option.
        name: &'static str,
    },
    /// More adapters are named, or are in the folder of adapters, than may be known.
    #[error("{found} adapters are to be served, but max_adapters is {limit}: serve fewer, or raise it")]
    TooManyAdapters {
        /// The adapters: those that are named, and those in the folder of adapters up to the first that is too many.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// An option that cannot be meant.
    #[error("{0}")]
    Option(String),
    /// The folder of adapters cannot be read.
    #[error("cannot read the folder of adapters {}: {error}", path.display())]
    Root {
        /// The folder.
        path: PathBuf,
        /// The error.
        error: std::io::Error,
    },
    /// The address cannot be listened on, or a thread cannot be started.
    #[error("cannot {doing}: {error}")]
    System {
        /// What failed.
        doing: String,
        /// The error.
        error: std::io::Error,
    },
}

/// A request that is refused or failed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ApiError {
    status: StatusCode,
    /// OpenAI's type of the error.
    kind: &'static str,
    code: Option<&'static str>,
    message: String,
    /// The member of the request that is wrong.
    param: Option<String>,
    /// The nearest known names.
    nearest: Vec<String>,
    /// After how many seconds a client may try again.
    retry_after: Option<u32>,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, code: Option<&'static str>, message: impl Into<String>) -> Self {
        Self { status, kind, code, message: message.into(), param: None, nearest: Vec::new(), retry_after: None }
    }

    /// A request that cannot be meant.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", None, message)
    }

    /// With the member of the request that is wrong.
    pub(crate) fn of(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    pub(crate) fn too_long(message: impl Into<String>) -> Self {
        Self { code: Some("context_length_exceeded"), ..Self::invalid(message) }
    }

    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", Some("request_too_large"), message)
    }

    pub(crate) fn too_slow(message: impl Into<String>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "invalid_request_error", Some("request_timeout"), message)
    }

    pub(crate) fn unauthorized() -> Self {
        let message = "a valid API key is needed: Authorization: Bearer KEY";
        Self::new(StatusCode::UNAUTHORIZED, "authentication_error", Some("invalid_api_key"), message)
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "permission_error", None, message)
    }

    pub(crate) fn no_route(path: &str) -> Self {
        let short: String = path.chars().take(100).collect();
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", Some("not_found"), format!("there is no `{short}`"))
    }

    pub(crate) fn wrong_method() -> Self {
        let message = "this method is not allowed here";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", Some("method_not_allowed"), message)
    }

    /// A name that nobody knows. The model alone is never used instead.
    pub(crate) fn unknown_model(name: &str, nearest: Option<&str>) -> Self {
        let hint = nearest
            .map_or_else(|| "GET /v1/models lists all".to_owned(), |nearest| format!("did you mean `{nearest}`?"));
        let message = format!("there is no model or adapter `{}` ({hint})", name.escape_debug());
        let error = Self::new(StatusCode::NOT_FOUND, "invalid_request_error", Some("model_not_found"), message);
        Self { nearest: nearest.map(str::to_owned).into_iter().collect(), ..error.of("model") }
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict_error", Some("conflict"), message)
    }

    /// An adapter that is damaged or does not fit the model.
    pub(crate) fn unusable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request_error", Some("adapter_unusable"), message)
    }

    /// No room for another adapter.
    pub(crate) fn busy(message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", Some("too_many_adapters"), message);
        Self { retry_after: Some(1), ..error }
    }

    /// No room for another request.
    pub(crate) fn overloaded(message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", Some("overloaded"), message);
        Self { retry_after: Some(1), ..error }
    }

    pub(crate) fn closing() -> Self {
        Self::overloaded("the server is shutting down")
    }

    pub(crate) fn timeout(seconds: u64) -> Self {
        let message = format!("the request took longer than {seconds} s");
        Self::new(StatusCode::GATEWAY_TIMEOUT, "server_error", Some("timeout"), message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", None, message)
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The error as a JSON object.
    pub(crate) fn json(&self) -> Value {
        let mut error = json!({"message": self.message, "type": self.kind, "param": self.param, "code": self.code});
        if !self.nearest.is_empty() {
            error["nearest"] = json!(self.nearest);
        }
        json!({"error": error})
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = json_response(self.status, &self.json());
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// An answer in JSON.
pub(crate) fn json_response(status: StatusCode, value: &Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
