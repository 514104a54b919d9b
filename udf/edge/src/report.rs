//! Errors as people and engines read them.

use std::error::Error;

use lakekeep_udf_client::UdfError;

/// An error and all its causes, and what to do where that is known.
pub fn told(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut remedy = None;
    let mut next = Some(error);
    while let Some(error) = next {
        let cause = error.to_string();
        // A transparent error is its cause.
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
        remedy = error.downcast_ref::<UdfError>().or(remedy);
        next = error.source();
    }
    match remedy.map(UdfError::remedy) {
        Some(remedy) if !remedy.is_empty() => format!("{text}\nremedy: {remedy}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::TakeError;
    use crate::stdio::StdioError;

    #[test]
    fn causes_follow_and_the_remedy_is_last() {
        let cause = arrow_schema::ArrowError::SchemaError("two columns".to_owned());
        let text = told(&UdfError::Input(cause));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(
            lines[0].contains("cannot be sent: Schema error: two columns"),
            "{text}"
        );
        assert!(
            lines[1].starts_with("remedy: send what was declared"),
            "{text}"
        );
    }

    #[test]
    fn what_is_transparent_is_told_once() {
        let error = TakeError::Udf {
            name: "f".to_owned(),
            error: UdfError::Cancelled,
        };
        let text = told(&StdioError::Take(error));
        assert_eq!(text.matches("cancelled").count(), 1, "{text}");
        assert!(text.contains("remedy"), "{text}");
    }
}
