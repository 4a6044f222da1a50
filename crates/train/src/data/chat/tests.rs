//! Rows of every shape, and wrong ones.

#![allow(clippy::unwrap_used)]

use super::*;

fn source(text: &str) -> Source {
    Source::from_reader("rows.jsonl", text.as_bytes(), Format::JsonLines).unwrap()
}

fn learned(text: &str, on: TrainOn) -> Vec<String> {
    let data = ChatData::from_source(&source(text)).unwrap();
    let data = data.render(Some(&ChatTemplate::chatml()), on, Some("</s>")).unwrap();
    let of = |example: &Example| -> String {
        let trained = example.trained.as_ref().unwrap();
        trained.spans.iter().map(|span| &example.text[span.clone()]).collect::<Vec<_>>().join("|")
    };
    data.examples().iter().map(of).collect()
}

fn error(text: &str) -> String {
    ChatData::from_source(&source(text)).unwrap_err().to_string()
}

const MESSAGES: &str = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]}"#;

#[test]
fn the_keys_of_the_first_row_tell_the_shape() {
    for (row, shape) in [
        (MESSAGES, ChatShape::Messages),
        (r#"{"prompt": "a", "completion": "b"}"#, ChatShape::Completion),
        (r#"{"text": "a", "label": 1}"#, ChatShape::Text),
        (r#"{"instruction": "a", "input": "", "output": "b"}"#, ChatShape::Alpaca),
        (r#"{"conversations": [{"from": "human", "value": "a"}]}"#, ChatShape::ShareGpt),
        (r#"{"prompt": "a", "chosen": "b", "rejected": "c"}"#, ChatShape::Preference),
    ] {
        assert_eq!(ChatData::shape_of(&source(row)).unwrap(), Some(shape), "{row}");
    }
    assert_eq!(ChatData::shape_of(&source("\n\n")).unwrap(), None);
    let error = ChatData::shape_of(&source("\n{\"question\": 1}")).unwrap_err().to_string();
    assert!(error.contains("line 2") && error.contains("`question`") && error.contains("`messages`"), "{error}");
}

#[test]
fn every_shape_has_its_answers_learned() {
    let assistant = TrainOn::Assistant;
    assert_eq!(learned(MESSAGES, assistant), ["b<|im_end|>\n|d<|im_end|>\n"]);
    assert_eq!(learned(MESSAGES, TrainOn::Completion), ["d<|im_end|>\n"]);
    assert_eq!(learned(r#"{"prompt": "a", "completion": " b"}"#, assistant), [" b</s>"]);
    assert_eq!(learned(r#"{"prompt": "a", "completion": " b</s>"}"#, TrainOn::All), ["a b</s>"]);
    let alpaca = r#"{"instruction": "a", "input": "x", "output": "b", "system": "s", "history": [["q", "r"]]}"#;
    assert_eq!(learned(alpaca, assistant), ["r<|im_end|>\n|b<|im_end|>\n"]);
    assert!(
        learned(alpaca, TrainOn::All)[0].contains("system\ns<|im_end|>")
            && learned(alpaca, TrainOn::All)[0].contains("user\na\nx<")
    );
    let shared = r#"{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}"#;
    assert_eq!(learned(shared, assistant), ["b<|im_end|>\n"]);
    let messages =
        r#"{"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]}"#;
    assert_eq!(learned(messages, TrainOn::Completion), ["b<|im_end|>\n"]);
    // Without an answer, nothing is learned.
    assert_eq!(learned(r#"{"messages": [{"role": "user", "content": "a"}]}"#, assistant), [""]);
}

#[test]
fn wrong_rows_are_listed_with_their_lines() {
    let mixed = error(&format!("{MESSAGES}\n{}\n{MESSAGES}", r#"{"prompt": "a", "completion": "b"}"#));
    assert!(mixed.contains("line 2") && mixed.contains("line 1") && mixed.contains("one shape"), "{mixed}");
    for (row, expected) in [
        (r#"{"messages": [{"role": "bot", "content": "a"}]}"#, "unknown role `bot`"),
        (r#"{"messages": []}"#, "the conversation is empty"),
        (r#"{"messages": null}"#, "the value of `messages` is missing"),
        (r#"{"messages": [{"role": "user", "content": "a"}], "tools": 3}"#, "`tools` must be a list"),
        (r#"{"prompt": "a", "completion": 3}"#, "`completion` must be a text or a list of messages, found a number"),
        (r#"{"prompt": "a", "completion": ""}"#, "`completion` is empty"),
        (r#"{"conversations": [{"from": "ghost", "value": "a"}]}"#, "unknown speaker `ghost`"),
        (r#"{"conversations": [{"from": "function_call", "value": "{"}]}"#, "is not JSON"),
        (r#"{"instruction": "", "output": "b"}"#, "both empty"),
        (r#"{"instruction": "a", "output": "b", "history": [["q"]]}"#, "`history`, 1"),
        (r#"{"prompt": "a", "chosen": "b", "rejected": "c"}"#, "preference"),
        ("[1]", "JSON array"),
        ("3", "expected an object, found a number"),
        ("{", "EOF"),
    ] {
        assert!(error(row).contains(expected), "{row}: {}", error(row));
    }
    assert!(matches!(ChatData::from_source(&source("\n")), Err(DataError::Empty { .. })));
    let data = ChatData::from_source(&source(MESSAGES)).unwrap();
    let error = data.render(None, TrainOn::Assistant, None).unwrap_err().to_string();
    assert!(error.contains("chat template, but the model has none"), "{error}");
}

#[test]
fn preferences_are_read_and_checked() {
    let read = |text: &str| PreferenceData::from_source(&source(text));
    let text = read(r#"{"prompt": "a", "chosen": " b", "rejected": " c"}"#).unwrap();
    let [chosen, rejected] = text.pairs[0].render(None, Some("</s>")).unwrap();
    assert_eq!((chosen.text.as_str(), rejected.text.as_str()), ("a b</s>", "a c</s>"));
    assert_eq!(chosen.trained.unwrap().spans, std::iter::once(1..7).collect::<Vec<_>>());
    let repeated = r#"{"prompt": "a", "chosen": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "rejected": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "c"}]}"#;
    let [chosen, _] = read(repeated).unwrap().pairs[0].render(Some(&ChatTemplate::chatml()), None).unwrap();
    assert_eq!(chosen.text.matches("<|im_start|>user").count(), 1);
    for (row, expected) in [
        (r#"{"prompt": "a", "chosen": "b", "rejected": "b"}"#, "the same"),
        (r#"{"chosen": "b", "rejected": "c"}"#, "`prompt` is missing"),
        (MESSAGES, "the shape `messages`, but expected is `chosen` and `rejected`"),
    ] {
        let error = read(row).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
