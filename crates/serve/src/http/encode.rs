//! Routes for texts that go through the model once: classes, tags, answers, embeddings, tokens.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use burn_adapters_heads::HeadConfig;
use burn_adapters_model::{Piece, Row};
use burn_adapters_train::{Dataset, Example, Lengths, Prediction, TextPieces, TokenData, train_task};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::request::Json;
use super::request::OneOrMany;
use super::{App, Shared};
use crate::engine::{Command, EncodeJob, Wanted, chain};
use crate::error::{ApiError, json_response};
use crate::registry::Resident;

/// The most texts of a request, and the most rows that join a batch together.
const MAX_INPUTS: usize = 128;
const ROWS_TOGETHER: usize = 8;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClassifyRequest {
    model: String,
    input: Inputs,
    #[serde(rename = "user")]
    _user: Option<Value>,
}

/// A text, several texts, or pairs of texts.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Inputs {
    Texts(OneOrMany),
    Pairs(Vec<[String; 2]>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AnswerRequest {
    model: String,
    question: String,
    context: String,
    #[serde(rename = "user")]
    _user: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EmbeddingRequest {
    model: String,
    input: EmbeddingInput,
    encoding_format: Option<String>,
    dimensions: Option<usize>,
    #[serde(rename = "user")]
    _user: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum EmbeddingInput {
    Texts(OneOrMany),
    Tokens(Vec<u32>),
    TokenRows(Vec<Vec<u32>>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenizeRequest {
    #[serde(rename = "model")]
    _model: Option<String>,
    prompt: String,
}

pub(super) async fn classify(
    State(app): State<App>,
    Json(request): Json<ClassifyRequest>,
) -> Result<Response, ApiError> {
    const TASKS: [&str; 3] = ["classification", "multilabel", "regression"];
    predict(app, "classify", request.model, request.input.examples(), &TASKS).await
}

pub(super) async fn tag(State(app): State<App>, Json(request): Json<ClassifyRequest>) -> Result<Response, ApiError> {
    predict(app, "tag", request.model, request.input.examples(), &["tagging", "dependency-parsing"]).await
}

pub(super) async fn answer(State(app): State<App>, Json(request): Json<AnswerRequest>) -> Result<Response, ApiError> {
    let mut example = Example::new(request.question, 1);
    example.pair = Some(request.context);
    predict(app, "answer", request.model, vec![example], &["question-answering"]).await
}

impl Inputs {
    fn examples(self) -> Vec<Example> {
        let numbered = |(index, text): (usize, String)| Example::new(text, index + 1);
        match self {
            Self::Texts(texts) => texts.into_vec().into_iter().enumerate().map(numbered).collect(),
            Self::Pairs(pairs) => {
                let pair = |(index, [text, pair]): (usize, [String; 2])| {
                    let mut example = Example::new(text, index + 1);
                    example.pair = Some(pair);
                    example
                };
                pairs.into_iter().enumerate().map(pair).collect()
            }
        }
    }
}

/// The predictions of an adapter's head.
async fn predict(
    app: App,
    prefix: &str,
    name: String,
    examples: Vec<Example>,
    tasks: &[&str],
) -> Result<Response, ApiError> {
    let arrived = Instant::now();
    check_inputs(examples.len())?;
    let adapter = app.registry.acquire(&name).await?;
    let Some(adapter) = adapter else {
        let message = format!("`{name}` is the model alone, which has no head: `model` names an adapter");
        return Err(ApiError::invalid(message).of("model"));
    };
    let Some(config) = adapter.task_head.clone() else {
        let why = adapter.head_problem.as_deref().map_or(String::new(), |problem| format!(": {problem}"));
        return Err(ApiError::invalid(format!("the adapter `{name}` has no prediction head{why}")).of("model"));
    };
    let task = config.task().name();
    if !tasks.contains(&task) {
        let route = match task {
            "classification" | "multilabel" | "regression" => "/v1/classify",
            "tagging" | "dependency-parsing" => "/v1/tag",
            "question-answering" => "/v1/answer",
            _ => "no route",
        };
        let message = format!("the head of `{name}` is for {task}: {route} is for it");
        return Err(ApiError::invalid(message).of("model"));
    }
    let head = config.clone();
    let (data, tokens) = app
        .work(move |app| {
            let data = Dataset::from_examples("the request", examples).map_err(|error| bad_input(&error))?;
            let lengths = Lengths::from(app.tokenizer.max_length());
            let tokens = TokenData::unlabeled(&data, train_task(&head).form(), &app.tokenizer, lengths);
            Ok((data, tokens.map_err(|error| bad_input(&error))?))
        })
        .await?;
    let rows = tokens.rows().to_vec();
    let used: usize = rows.iter().map(|row| row.ids.len()).sum();
    let logits = run(&app, &name, Some(adapter), rows, Wanted::Logits, arrived).await?;
    let created = app.created;
    let data = app
        .work(move |_| {
            let truncated = tokens.truncation().map_or(0, |truncation| truncation.texts);
            let found = (0..data.len()).zip(tokens.examples());
            let found = found.map(|(index, rows)| {
                let logits = logits.get(rows.clone()).unwrap_or_default().concat();
                prediction(&config, &data, &tokens, index, rows, logits)
            });
            Ok((found.collect::<Result<Vec<Value>, _>>()?, truncated))
        })
        .await?;
    let (data, truncated) = data;
    app.metrics.finished("stop", arrived);
    let answer = json!({
        "id": format!("{prefix}-{created:x}"), "object": "list", "created": created, "model": name, "data": data,
        "truncated": truncated, "usage": {"prompt_tokens": used, "total_tokens": used},
    });
    Ok(json_response(StatusCode::OK, &answer))
}

/// The prediction for an example, whose rows may be several windows.
fn prediction(
    config: &HeadConfig,
    data: &Dataset,
    tokens: &TokenData,
    index: usize,
    rows: std::ops::Range<usize>,
    logits: Vec<f32>,
) -> Result<Value, ApiError> {
    let prediction = Prediction::new(config, logits).map_err(|error| ApiError::internal(chain(&error)))?;
    let example = data.examples().get(index);
    let text = example.map_or("", |example| match &example.pair {
        Some(context) if tokens.is_windowed() => context,
        _ => &example.text,
    });
    let lengths: Vec<usize> = rows.clone().map(|row| tokens.pieces(row).len()).collect();
    let pieces: Vec<Option<Piece>> = rows.flat_map(|row| tokens.pieces(row)).cloned().collect();
    let pieces = TextPieces { text, pieces: &pieces, rows: &lengths, choices: &[], rules: tokens.limits().answers };
    let mut object = serde_json::Map::new();
    object.insert("index".to_owned(), index.into());
    for (name, value) in train_task(config).json(config, &prediction, &pieces) {
        object.insert(name.to_owned(), value);
    }
    // vLLM's names.
    if let Some(probabilities) = object.get("probabilities").cloned() {
        object.insert("probs".to_owned(), probabilities);
        object.insert("num_classes".to_owned(), config.outputs().into());
    }
    Ok(Value::Object(object))
}

pub(super) async fn embeddings(
    State(app): State<App>,
    Json(request): Json<EmbeddingRequest>,
) -> Result<Response, ApiError> {
    let arrived = Instant::now();
    let EmbeddingRequest { model: name, input, encoding_format, dimensions, .. } = request;
    if dimensions.is_some() {
        return Err(
            ApiError::invalid("`dimensions` is not supported: embeddings have the width of the model").of("dimensions")
        );
    }
    let in_base64 = match encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => return Err(ApiError::invalid("encoding_format must be float or base64").of("encoding_format")),
    };
    let adapter = app.registry.acquire(&name).await?;
    let rows = app.work(move |app| embedded_rows(app, input)).await?;
    check_inputs(rows.len())?;
    let used: usize = rows.iter().map(|row| row.ids.len()).sum();
    let values = run(&app, &name, adapter, rows, Wanted::Mean, arrived).await?;
    let data = values.into_iter().enumerate().map(|(index, values)| {
        let values = unit(&values).ok_or_else(|| {
            ApiError::internal("an embedding is NaN or infinite: the weights or the adapter are broken")
        })?;
        let embedding = match in_base64 {
            true => json!(STANDARD.encode(values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())),
            false => json!(values),
        };
        Ok(json!({"object": "embedding", "index": index, "embedding": embedding}))
    });
    let data = data.collect::<Result<Vec<Value>, ApiError>>()?;
    app.metrics.finished("stop", arrived);
    let usage = json!({"prompt_tokens": used, "total_tokens": used});
    Ok(json_response(StatusCode::OK, &json!({"object": "list", "data": data, "model": name, "usage": usage})))
}

fn embedded_rows(app: &Shared, input: EmbeddingInput) -> Result<Vec<Row>, ApiError> {
    let texts = match input {
        EmbeddingInput::Texts(texts) => texts.into_vec(),
        EmbeddingInput::Tokens(ids) => return rows_of_tokens(app, vec![ids]),
        EmbeddingInput::TokenRows(rows) => return rows_of_tokens(app, rows),
    };
    check_inputs(texts.len())?;
    let encoded = app.tokenizer.encode(&texts, usize::MAX).map_err(|error| bad_input(&error))?;
    if encoded.truncated > 0 {
        let most = app.tokenizer.model_limit();
        return Err(
            ApiError::too_long(format!("a text has more than the {most} tokens that the model takes")).of("input")
        );
    }
    if encoded.rows.iter().any(|row| row.ids.is_empty()) {
        return Err(ApiError::invalid("a text has no tokens").of("input"));
    }
    Ok(encoded.rows)
}

fn rows_of_tokens(app: &Shared, rows: Vec<Vec<u32>>) -> Result<Vec<Row>, ApiError> {
    check_inputs(rows.len())?;
    let (most, vocabulary) = (app.tokenizer.model_limit(), app.vocabulary);
    for row in &rows {
        if row.is_empty() || row.len() > most {
            let message = format!("a text has {} tokens, but must have 1 to {most}", row.len());
            return Err(ApiError::too_long(message).of("input"));
        }
        if let Some(id) = row.iter().find(|id| **id as usize >= vocabulary) {
            let message = format!("token {id} is not in the vocabulary, which has {vocabulary} tokens");
            return Err(ApiError::invalid(message).of("input"));
        }
    }
    Ok(rows.into_iter().map(Row::new).collect())
}

/// The values with a Euclidean norm of 1; `None` if they are not finite.
fn unit(values: &[f32]) -> Option<Vec<f32>> {
    let norm = values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    if !norm.is_finite() {
        return None;
    }
    let norm = if norm > 0.0 { norm } else { 1.0 };
    Some(values.iter().map(|value| (f64::from(*value) / norm) as f32).collect())
}

pub(super) async fn tokenize(
    State(app): State<App>,
    Json(request): Json<TokenizeRequest>,
) -> Result<Response, ApiError> {
    let row = app
        .work(move |app| {
            let encoded = app.tokenizer.encode(&[request.prompt], usize::MAX);
            Ok(encoded.map_err(|error| bad_input(&error))?.rows.pop().map(|row| row.ids).unwrap_or_default())
        })
        .await?;
    let answer = json!({"tokens": row, "count": row.len(), "max_model_len": app.tokenizer.model_limit()});
    Ok(json_response(StatusCode::OK, &answer))
}

fn bad_input(error: &dyn std::error::Error) -> ApiError {
    ApiError::invalid(chain(error)).of("input")
}

fn check_inputs(count: usize) -> Result<(), ApiError> {
    match count {
        1..=MAX_INPUTS => Ok(()),
        _ => Err(ApiError::invalid(format!("input has {count} texts, but must have 1 to {MAX_INPUTS}")).of("input")),
    }
}

/// Runs rows through the model, a few at a time, so that other requests get their turn.
async fn run(
    app: &Shared,
    name: &str,
    adapter: Option<Arc<Resident>>,
    rows: Vec<Row>,
    wanted: Wanted,
    arrived: Instant,
) -> Result<Vec<Vec<f32>>, ApiError> {
    if rows.len() > 4 * MAX_INPUTS {
        let message = format!("the input is {} rows of tokens, but may be {} at most", rows.len(), 4 * MAX_INPUTS);
        return Err(ApiError::too_long(message).of("input"));
    }
    let deadline = arrived + Duration::from_secs(app.options.timeout);
    let mut replies = Vec::new();
    for rows in rows.chunks(ROWS_TOGETHER) {
        let (reply, replied) = oneshot::channel();
        let job = EncodeJob {
            adapter: adapter.clone(),
            rows: rows.to_vec(),
            wanted,
            reply,
            place: Some(app.place()?),
            activity: app.metrics.activity(adapter.is_some().then_some(name)),
        };
        app.commands.send(Command::Encode(job)).map_err(|_| ApiError::closing())?;
        replies.push(replied);
    }
    let mut found = Vec::with_capacity(rows.len());
    for reply in replies {
        let reply = tokio::time::timeout_at(deadline.into(), reply).await;
        let reply = reply.map_err(|_| ApiError::timeout(app.options.timeout))?.map_err(|_| ApiError::closing())?;
        found.extend(reply.map_err(ApiError::internal)?);
    }
    Ok(found)
}
