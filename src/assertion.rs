//! What one response must look like, and the other expressions on a response: captures, messages.
//!
//! They read an [`Exchange`]. Its Documents are turned into values one by one as an expression asks
//! for them; whether it can ask at all is known beforehand ([`Assertion::reads`]), so that a load run
//! decodes no body that nobody looks at.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::template::TemplateError;
use crate::units::Percentage;
use crate::wire::{DataRequest, Head};

/// A request and what came of it.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    /// The request; `None` is allowed when nothing [`Reads::request`].
    pub request: Option<Arc<DataRequest>>,
    /// Header and routes of the response; `None`: there was no response.
    pub head: Option<Arc<Head>>,
    /// The whole response; `None` is allowed when nothing [`Reads::response`], or when it carries
    /// no more than its head.
    pub response: Option<Arc<DataRequest>>,
    /// The body of a GraphQL response, for `response.data` and `response.errors`.
    pub graphql: Option<Arc<Value>>,
    /// The failure: its kind (`timeout`, `executor` …) and its words.
    pub exception: Option<(&'static str, String)>,
    /// Response time.
    pub latency: Duration,
}

/// What of an exchange an expression looks at, beside status, routes and latency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Documents or parameters of the request.
    pub request: bool,
    /// Documents or parameters of the response: it has to be decoded.
    pub response: bool,
}

/// An expression on a response that must hold, parsed once.
#[derive(Clone, Debug)]
pub struct Assertion {
    name: String,
    sample: Percentage,
}

/// A value that a step keeps of its response for later steps: `captured.<name>`.
#[derive(Clone, Debug)]
pub struct Capture {
    name: String,
}

/// A line made from a template, for `log`.
#[derive(Clone, Debug)]
pub struct Message {}

impl std::ops::BitOr for Reads {
    type Output = Reads;

    fn bitor(self, other: Reads) -> Reads {
        Reads { request: self.request || other.request, response: self.response || other.response }
    }
}

impl Assertion {
    /// As in the file, or else the expression itself. Counted under it in the report.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The share of responses it is judged on.
    pub fn sample(&self) -> Percentage {
        self.sample
    }

    /// What it looks at.
    pub fn reads(&self) -> Reads {
        unimplemented!()
    }

    /// Judges a response: `Ok(true)` when the assertion holds.
    ///
    /// # Errors
    /// An expression without a value (`response.docs[3].text` when there are two); to be counted as
    /// not holding, with the error's words as its example.
    pub fn holds(&self, _exchange: &Exchange) -> Result<bool, TemplateError> {
        unimplemented!()
    }
}

impl Capture {
    /// The key under `captured`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it looks at.
    pub fn reads(&self) -> Reads {
        unimplemented!()
    }

    /// The value.
    ///
    /// # Errors
    /// An expression without a value; the iteration cannot go on.
    pub fn value(&self, _exchange: &Exchange) -> Result<Value, TemplateError> {
        unimplemented!()
    }
}

impl Message {
    /// What it looks at.
    pub fn reads(&self) -> Reads {
        unimplemented!()
    }

    /// The line.
    ///
    /// # Errors
    /// An expression without a value.
    pub fn render(&self, _exchange: &Exchange) -> Result<String, TemplateError> {
        unimplemented!()
    }
}
