//! `/v1/chat/completions`.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::response::Response;
use burn_adapters_chat::{Conversation, Json as ChatJson};
use serde::Deserialize;

use super::App;
use super::body::Json;
use super::completions::{Answer, check_generates, check_top};
use super::generation::{Generation, Prompt};
use super::request::Common;
use crate::engine::chain;
use crate::error::ApiError;

#[derive(Deserialize)]
pub(super) struct ChatRequest {
    messages: ChatJson,
    max_completion_tokens: Option<usize>,
    logprobs: Option<bool>,
    top_logprobs: Option<usize>,
    #[serde(flatten)]
    common: Common,
}

pub(super) async fn chat(State(app): State<App>, Json(request): Json<ChatRequest>) -> Result<Response, ApiError> {
    let arrived = Instant::now();
    let ChatRequest { messages, max_completion_tokens, logprobs, top_logprobs, common } = request;
    check_generates(&app)?;
    let top = match (logprobs, check_top(top_logprobs, "top_logprobs")?) {
        (Some(true), top) => Some(top.unwrap_or(0)),
        (_, Some(1..)) => {
            return Err(ApiError::invalid("top_logprobs needs \"logprobs\": true").of("top_logprobs"));
        }
        _ => None,
    };
    let name = common.model.clone();
    let sampled = Arc::new(common.sampled(&app, max_completion_tokens)?);
    let adapter = app.registry.acquire(&name).await?;
    let prompt = {
        let sampled = Arc::clone(&sampled);
        app.work(move |app| {
            let template = app.template.as_ref().ok_or_else(|| {
                let base = &app.registry.base;
                ApiError::invalid(format!("{base} has no chat template: /v1/completions continues plain texts"))
            })?;
            let failed = |message: String| ApiError::invalid(message).of("messages");
            let conversation = Conversation::from_json(messages, None).map_err(|error| failed(chain(&error)))?;
            let text = template.render(&conversation, true).map_err(|error| failed(chain(&error)))?;
            let encoded = app.tokenizer.encode_bare(&text, usize::MAX).map_err(|error| failed(chain(&error)))?;
            if encoded.truncated {
                let most = app.tokenizer.model_limit();
                let message = format!("the conversation has more than the {most} tokens that the model takes");
                return Err(ApiError::too_long(message).of("messages"));
            }
            if encoded.row.ids.is_empty() {
                return Err(failed("the chat template gives an empty text, so there is nothing to continue".into()));
            }
            let options = sampled.options_for(app, encoded.row.ids.len(), None)?;
            Ok(Prompt { ids: encoded.row.ids, options })
        })
    };
    let prompt = prompt.await?;
    let answer = Answer::new("chatcmpl", true, &name, top);
    let generation = Generation::start(&app, &name, adapter, vec![prompt], &sampled, top, arrived)?;
    answer.respond(app, generation, &sampled).await
}
