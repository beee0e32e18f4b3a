//! Errors in one line: with their causes, or without their position.

/// An error and what caused it, each cause after a colon; a cause that the words before it mention is
/// not repeated.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}

/// What caused an error in the first place: what was being done when it happened says less.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// What serde_json says without the position at its end. The crate keeps both in one sentence and has no
/// other way to ask for the first, so this is the one place that cuts it.
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
