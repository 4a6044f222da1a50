//! Templates and conversations against Transformers, and hostile ones.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use burn_adapters_chat::{ChatError, ChatTemplate, Clock, Conversation, Json, Message, Role, SpecialTokens, TrainOn};
use proptest::prelude::*;

fn golden() -> Json {
    Json::parse(&burn_adapters_goldens::text(include_bytes!("goldens/templates.json.xz"))).unwrap()
}

fn string(value: &Json, key: &str) -> String {
    value.get(key).and_then(Json::as_str).unwrap_or_else(|| panic!("no {key}")).to_owned()
}

fn entries(value: Option<&Json>) -> Vec<(String, Json)> {
    let Some(Json::Object(entries)) = value else { panic!("no object") };
    entries.clone()
}

fn template(golden: &Json, case: &Json) -> ChatTemplate {
    let tokens = entries(golden.get("tokens"));
    let tokens = SpecialTokens::new(tokens.iter().map(|(name, token)| (name.clone(), token.as_str().unwrap())));
    let Some(Json::Number(now)) = golden.get("now") else { panic!("no time") };
    let clock = Clock::At { seconds: now.as_i64().unwrap() };
    let template = ChatTemplate::parse("golden", &string(case, "template"), tokens).unwrap().with_clock(clock);
    entries(case.get("variables"))
        .into_iter()
        .fold(template, |template, (name, value)| template.with_variable(name, value))
}

fn conversation(case: &Json) -> Conversation {
    Conversation::from_json(case.get("messages").unwrap().clone(), case.get("tools").cloned()).unwrap()
}

fn case(name: &str) -> Json {
    let golden = golden();
    let cases = golden.get("cases").and_then(Json::as_array).unwrap();
    cases.iter().find(|case| string(case, "name") == name).unwrap().clone()
}

fn plain() -> Conversation {
    conversation(&case("chatml"))
}

fn parse(source: &str) -> Result<ChatTemplate, ChatError> {
    ChatTemplate::parse("test", source, SpecialTokens::default())
}

fn learned(template: &ChatTemplate, conversation: &Conversation, on: TrainOn) -> Vec<String> {
    let rendered = template.render_trained(conversation, on).unwrap();
    rendered.trained.iter().map(|span| rendered.text[span.clone()].to_owned()).collect()
}

#[test]
fn every_template_gives_the_text_of_transformers() {
    let golden = golden();
    let cases = golden.get("cases").and_then(Json::as_array).unwrap();
    assert!(cases.len() >= 19);
    for case in cases {
        let (name, template, conversation) = (string(case, "name"), template(&golden, case), conversation(case));
        if let Some(message) = case.get("refused").and_then(Json::as_str) {
            let error = template.render(&conversation, false).unwrap_err();
            assert_eq!(error, ChatError::Refused { name: "golden".into(), message: message.into() }, "{name}");
            continue;
        }
        assert_eq!(template.render(&conversation, false).unwrap(), string(case, "text"), "{name}");
        assert_eq!(template.render(&conversation, true).unwrap(), string(case, "prompt"), "{name}, with the prompt");
    }
}

#[test]
fn marked_turns_are_where_transformers_finds_them() {
    let golden = golden();
    let marked =
        golden.get("cases").and_then(Json::as_array).unwrap().iter().filter(|case| case.get("marked").is_some());
    let mut count = 0;
    for case in marked {
        let rendered = template(&golden, case).render_trained(&conversation(case), TrainOn::Assistant).unwrap();
        assert_eq!(rendered.text, string(case, "text"));
        let expected: Vec<Vec<usize>> =
            serde_json::from_str(&serde_json::to_string(case.get("marked").unwrap()).unwrap()).unwrap();
        let found: Vec<Vec<usize>> = rendered.trained.iter().map(|span| vec![span.start, span.end]).collect();
        assert_eq!(found, expected, "{}", string(case, "name"));
        count += 1;
    }
    assert_eq!(count, 3);
}

#[test]
fn turns_without_marks_are_found_by_their_prompts() {
    let golden = golden();
    let dated = template(&golden, &case("dated_tools"));
    assert_eq!(
        learned(&dated, &conversation(&case("dated_tools")), TrainOn::Assistant),
        [r#"weather({"place": "Rome", "days": 2})<|done|>"#, "Clear.<|done|>"]
    );
    let brackets = template(&golden, &case("brackets"));
    let turns = [" Hi.\nHow are you? 🙂 </s>", " Good — very good. </s>"];
    assert_eq!(learned(&brackets, &plain(), TrainOn::Assistant), turns);
    assert_eq!(learned(&brackets, &plain(), TrainOn::Completion), turns[1..]);
    assert_eq!(learned(&brackets, &plain(), TrainOn::All), [brackets.render(&plain(), false).unwrap()]);
    let marked = template(&golden, &case("marked"));
    assert_eq!(learned(&marked, &plain(), TrainOn::Completion), ["Good — very good.<|im_end|>"]);
}

#[test]
fn a_template_that_changes_earlier_turns_is_an_error_that_shows_the_difference() {
    let golden = golden();
    let (thinking, thoughts) = (template(&golden, &case("thinking")), conversation(&case("thinking")));
    let error = thinking.render_trained(&thoughts, TrainOn::Assistant).unwrap_err();
    let ChatError::NoPrefix { message: 2, reason, .. } = &error else { panic!("{error}") };
    assert!(reason.contains("<think>") && reason.contains("completion"), "{reason}");
    // The last turn is as the model would say it.
    let last = learned(&thinking, &thoughts, TrainOn::Completion);
    assert_eq!(last, ["<think>\nwell\n</think>\n\n2.<|im_end|>\n"]);
    let alone = Conversation::new([Message::new(Role::Assistant, "Hello.")]);
    let error = ChatTemplate::chatml().render_trained(&alone, TrainOn::Assistant).unwrap_err();
    assert!(error.to_string().contains("begins with it"), "{error}");
}

#[test]
fn a_completion_is_what_follows_its_prompt() {
    let prompt = Conversation::new([Message::new(Role::User, "One?")]);
    let rendered = ChatTemplate::chatml().render_completion(&prompt, &[Message::new(Role::Assistant, "1.")]).unwrap();
    assert_eq!(&rendered.text[rendered.trained[0].clone()], "1.<|im_end|>\n");
}

#[test]
fn lists_of_parts_are_texts_for_templates_that_read_no_lists() {
    let parts = conversation(&case("parted_list"));
    assert_eq!(
        ChatTemplate::chatml().render(&parts, false).unwrap(),
        "<|im_start|>user\nFirst. \nSecond.<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n"
    );
}

#[test]
fn wrong_templates_are_errors_with_a_line() {
    for (source, line) in [
        ("{% for m in messages %}\n{% endif %}", 2),
        ("a\nb\n{{ messages[ }}", 3),
        ("{% if true %}", 1),
        ("\n{% nonsense %}", 2),
        ("{% generation %}a", 1),
        ("{{ x|no_such_filter", 1),
    ] {
        let error = parse(source).unwrap_err();
        let ChatError::Syntax { line: found, .. } = error else { panic!("{error}") };
        assert_eq!(found, line, "{source}");
    }
    let error = parse("a\n{{ messages[0].nothing.at_all }}").unwrap().render(&plain(), false).unwrap_err();
    assert!(matches!(&error, ChatError::Render { line: 2, .. }), "{error:?}");
    assert!(error.to_string().contains("messages[0].nothing.at_all"), "{error}");
    for source in [
        "{{ x|no_such_filter }}",
        "{{ no_such_function() }}",
        "{{ 'a'.no_such_method() }}",
        "{{ strftime_now('%Q %!') }}",
    ] {
        let error = parse(source).and_then(|template| template.render(&plain(), false)).unwrap_err();
        assert!(matches!(error, ChatError::Render { .. } | ChatError::Syntax { .. }), "{source}: {error:?}");
    }
    assert!(matches!(parse(&"x".repeat(2 << 20)), Err(ChatError::TooLarge { .. })));
}

#[test]
fn hostile_templates_end() {
    let growing = "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(90) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}";
    let calls = "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}";
    let nested = "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}x{% endfor %}{% endfor %}{% endfor %}";
    let replaced = "{% set a = 'a' * 1000000 %}{{ a.replace('a', a) }}";
    let json = "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x|tojson }}";
    let printed =
        "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}";
    let shared = "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}";
    let tuples = "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(60) %}{% set ns.x = (ns.x, ns.x) %}{% set ns.y = ns.x %}{% endfor %}";
    let ends = [
        "{{ 'a' ~ ns.x }}",
        "{{ ns.x == ns.y }}",
        "{{ {ns.x: 1} }}",
        "{{ [ns.x, ns.y]|sort }}",
        "{{ raise_exception(ns.x) }}",
    ];
    let tuples = format!("{tuples}{}", ends[1]);
    let shared = ends.iter().map(|end| format!("{shared}{end}")).chain([tuples]);
    let turns =
        ["[x, x]", "{'a': x, 'b': x}", "(x, x)", "[x] * 2", "dict(a=x, b=x)", "x|zip(x)|list", "namespace(a=x, b=x)"];
    let turns = turns.map(|more| format!("{{% macro f(x, n) %}}{{% if n %}}{{{{ f({more}, n - 1) }}}}{{% else %}}{{{{ x ~ '' }}}}{{% endif %}}{{% endmacro %}}{{{{ f([1], 60) }}}}"));
    let shared: Vec<String> = shared.chain(turns).collect();
    let deep = "{% set ns = namespace(x=[1]) %}{% for i in range(9000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}{{ ns.x|tojson }}";
    for source in [growing, calls, nested, replaced, "{{ 'a' * 10000000000 }}", json, printed, deep]
        .into_iter()
        .chain(shared.iter().map(String::as_str))
    {
        let error = parse(source).unwrap().render(&plain(), false).unwrap_err();
        assert!(matches!(error, ChatError::Limit { .. } | ChatError::Render { .. }), "{source}: {error}");
    }
    let nested = format!("{}1{}", "{{ (".repeat(5000), ") }}".repeat(5000));
    assert!(parse(&nested).is_err());
}

#[test]
fn wrong_conversations_are_errors_that_name_the_message() {
    let read = |text: &str| Conversation::from_json(Json::parse(text).unwrap(), None).unwrap_err().to_string();
    for (text, expected) in [
        ("[]", "the conversation is empty"),
        ("{}", "expected a list of messages, found an object"),
        (
            r#"[{"role": "user", "content": "a"}, {"role": "asistant", "content": "b"}]"#,
            "message 2: unknown role `asistant` (did you mean `assistant`?)",
        ),
        (r#"[{"content": "a"}]"#, "message 1: the key `role` is missing"),
        (r#"[{"role": "user"}]"#, "message 1: the user's `content` is missing"),
        (r#"[{"role": "user", "content": 3}]"#, "found a number"),
        (r#"[{"role": "user", "content": [{"type": "image_url"}]}]"#, "of type `image_url`"),
        (r#"[{"role": "assistant", "tool_calls": [{}]}]"#, "tool call 1 has no name"),
    ] {
        assert!(read(text).contains(expected), "{text}: {}", read(text));
    }
    let tools = |text: &str| {
        let messages = Json::parse(r#"[{"role": "user", "content": "a"}]"#).unwrap();
        Conversation::from_json(messages, Some(Json::parse(text).unwrap()))
    };
    assert!(tools("[3]").is_err() && tools(r#""{""#).is_err() && tools("3").is_err());
    assert_eq!(tools("[]").unwrap().tools, None);
    assert_eq!(tools(r#""[{\"name\": \"f\"}]""#).unwrap().tools.unwrap().len(), 1);
    assert_eq!(ChatTemplate::chatml().render(&Conversation::default(), true), Err(ChatError::Empty));
}

proptest! {
    #[test]
    fn no_text_is_a_template_that_panics(parts in prop::collection::vec(prop::sample::select(FRAGMENTS.to_vec()), 0..12)) {
        let source = parts.concat();
        if let Ok(template) = parse(&source) {
            let _ = template.render_trained(&plain(), TrainOn::Assistant);
            let _ = template.render_trained(&plain(), TrainOn::Completion);
        }
    }
}

/// Pieces of templates, in any order.
const FRAGMENTS: [&str; 26] = [
    "{% for m in messages %}",
    "{% endfor %}",
    "{{ m.content }}",
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "#}",
    "{% generation %}",
    "{%- endgeneration -%}",
    "{% set x = [1, 'a'] %}",
    "{% set x = (",
    ")",
    "[",
    "]",
    "'",
    "\"",
    "\\",
    "{% raw %}",
    "{% endraw %}",
    "é🙂",
    "\n  ",
    "{{ messages[0]|tojson }}",
    "{% if x %}",
    "{% endif %}",
];
