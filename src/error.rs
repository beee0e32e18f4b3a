//! Errors on one line: with their causes, or without their position.

/// An error and its causes, each after a colon; a cause already mentioned in the preceding text is not
/// repeated.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}

/// The root cause of an error, which says more than what was being done at the time.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// serde_json's message without the position at its end. The crate offers no other way to get it, so this is
/// the only place that cuts it off.
pub(crate) fn json_words(error: &serde_json::Error) -> String {
    let mut words = error.to_string();
    words.truncate(words.rfind(" at line ").unwrap_or(words.len()));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{words}")]
    struct Failed {
        words: &'static str,
        source: Option<Box<Failed>>,
    }

    #[test]
    fn causes_follow_their_error_once() {
        let of = |words, source: Option<Failed>| Failed { words, source: source.map(Box::new) };
        assert_eq!(chain(&of("no Flow", Some(of("port taken", None)))), "no Flow: port taken");
        assert_eq!(
            chain(&of("no Flow: port taken", Some(of("port taken", None)))),
            "no Flow: port taken"
        );
    }
}
