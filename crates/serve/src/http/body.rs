//! The bodies of requests: limited in size and time, and strict about what they hold.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;

use super::App;
use crate::error::ApiError;

/// A body that was read whole.
pub(super) struct Read(pub(super) Vec<u8>);

/// A body in JSON.
pub(super) struct Json<T>(pub(super) T);

impl FromRequest<App> for Read {
    type Rejection = ApiError;

    async fn from_request(request: Request<Body>, app: &App) -> Result<Self, ApiError> {
        let (limit, time) = (app.options.max_body_bytes, Duration::from_secs(app.options.body_timeout));
        let body = to_bytes(request.into_body(), limit);
        let bytes = tokio::time::timeout(time, body).await;
        let bytes =
            bytes.map_err(|_| ApiError::too_slow(format!("the body did not arrive within {} s", time.as_secs())))?;
        let too_large = |error: &axum::Error| {
            let mut source: Option<&dyn std::error::Error> = Some(error);
            while let Some(error) = source {
                if error.is::<http_body_util::LengthLimitError>() {
                    return true;
                }
                source = error.source();
            }
            false
        };
        let bytes = bytes.map_err(|error| match too_large(&error) {
            true => ApiError::too_large(format!("the body has more than {limit} bytes")),
            false => ApiError::invalid(format!("the body could not be read: {error}")),
        })?;
        Ok(Self(bytes.to_vec()))
    }
}

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request<Body>, app: &App) -> Result<Self, ApiError> {
        let Read(bytes) = Read::from_request(request, app).await?;
        parse(&bytes).map(Self)
    }
}

/// A value from JSON.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| {
        let what = if error.is_data() { "the request is not as expected" } else { "the body is not valid JSON" };
        let text: String = error.to_string().chars().take(400).collect();
        ApiError::invalid(format!("{what}: {text}"))
    })
}
