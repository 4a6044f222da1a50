//! Routes that load and unload adapters while the server runs.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use super::App;
use super::request::Json;
use crate::error::{ApiError, json_response};
use crate::registry::Change;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LoadRequest {
    lora_name: String,
    lora_path: String,
    #[serde(default)]
    load_inplace: bool,
    expected_generation: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UnloadRequest {
    lora_name: String,
    expected_generation: Option<u64>,
    /// vLLM's clients send it.
    #[serde(rename = "lora_int_id")]
    _number: Option<u64>,
}

pub(super) async fn list(State(app): State<App>) -> Response {
    let adapters: Vec<_> = app
        .registry
        .list()
        .into_iter()
        .map(|adapter| {
            let (bytes, method) = adapter.resident.unzip();
            json!({
                "name": adapter.name, "generation": adapter.generation, "path": adapter.path.display().to_string(),
                "in_memory": bytes.is_some(), "bytes": bytes, "method": method,
            })
        })
        .collect();
    json_response(StatusCode::OK, &json!({"object": "list", "data": adapters}))
}

pub(super) async fn load(State(app): State<App>, Json(request): Json<LoadRequest>) -> Result<Response, ApiError> {
    let LoadRequest { lora_name, lora_path, load_inplace, expected_generation } = request;
    let change = Change { replace: load_inplace, expected: expected_generation };
    let generation = app.registry.load(&lora_name, &lora_path, change).await?;
    let message = format!("Success: adapter '{lora_name}' loaded.");
    let answer = json!({"name": lora_name, "generation": generation, "message": message});
    Ok(json_response(StatusCode::OK, &answer))
}

pub(super) async fn unload(State(app): State<App>, Json(request): Json<UnloadRequest>) -> Result<Response, ApiError> {
    let generation = app.registry.unload(&request.lora_name, request.expected_generation)?;
    let message = format!("Success: adapter '{}' unloaded.", request.lora_name);
    let answer = json!({"name": request.lora_name, "generation": generation, "message": message});
    Ok(json_response(StatusCode::OK, &answer))
}
