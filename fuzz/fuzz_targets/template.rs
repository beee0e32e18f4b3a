//! No text makes an expression panic, hang, or take memory without bound, neither at load time nor for
//! a Document.
#![no_main]

use flowbench::random::Key;
use flowbench::template::{Context, Scope, Template, evaluate_text};
use serde_json::json;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let vars = json!({"rate": "50/s", "n": 3, "list": [1, "two", null], "map": {"a": {"b": 1.5}}});
    let vars = vars.as_object().cloned().unwrap_or_default();
    let context = Context::new(vars, Default::default(), Default::default());
    for text in [text.to_owned(), format!("${{{{ {text} }}}}")] {
        let _ = evaluate_text(&text, &context);
        if let Ok(template) = Template::parse(&text)
            && let Ok(template) = template.bind(&context)
        {
            let scope = Scope { i: 7, key: Key::new(1), captured: None };
            let _ = template.evaluate(&scope);
            let _ = template.to_json();
        }
    }
});
