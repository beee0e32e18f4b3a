//! Requests and responses: both are Jina's `DataRequest`.

use std::time::SystemTime;

use compact_str::CompactString;

use super::{Document, Map};

/// A request or a response, decoded as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DataRequest {
    /// Id, endpoint, status.
    pub header: Header,
    /// Parameters of the request; in a response with what Executors returned under `__results__`.
    pub parameters: Map,
    /// The gateway and every Executor the request passed, in the order of the Flow. Empty in
    /// requests, and in HTTP responses of v2, which carry none.
    pub routes: Vec<Route>,
    /// The Documents; `None` when the message has no data at all, which a request without inputs
    /// has not.
    pub data: Option<Vec<Document>>,
}

/// The header of a request or a response.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Header {
    /// What the response repeats of its request.
    pub request_id: String,
    /// The endpoint, `on` in the client.
    pub exec_endpoint: Option<String>,
    /// A regular expression over Executor names.
    pub target_executor: Option<String>,
    /// Absent on success.
    pub status: Option<Box<Status>>,
}

/// How a request, or one Executor's part in it, ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// 0 is success, all else an error.
    pub code: i32,
    /// As a rule the `repr` of the exception.
    pub description: String,
    /// The exception, where there was one.
    pub exception: Option<ExceptionInfo>,
}

/// A Python exception as an Executor tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExceptionInfo {
    /// Class name.
    pub name: String,
    /// `str` of each argument.
    pub args: Vec<String>,
    /// The traceback, line by line.
    pub stacks: Vec<String>,
    /// Class name of the Executor.
    pub executor: String,
}

/// One stop of a request: the gateway or an Executor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Route {
    /// The Executor's name, or `gateway`; with its replica where the Flow says which.
    pub executor: CompactString,
    /// When the request came in, on the gateway's clock.
    pub start_time: Option<SystemTime>,
    /// When it went out; absent for an Executor that was skipped.
    pub end_time: Option<SystemTime>,
    /// The failure of this Executor, where there was one.
    pub status: Option<Box<Status>>,
}

/// What is read of every response: all but parameters and Documents.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Head {
    /// Id, endpoint, status.
    pub header: Header,
    /// `None` where the form carries no routes (HTTP of v2).
    pub routes: Option<Vec<Route>>,
    /// How many Documents there are, where it can be told without decoding them.
    pub documents: Option<u64>,
}

impl DataRequest {
    /// The Documents, none when the message has no data.
    pub fn docs(&self) -> &[Document] {
        self.data.as_deref().unwrap_or_default()
    }

    /// What Executors returned as a dict, by pod name (`indexer/rep-0`).
    pub fn results(&self) -> Option<&Map> {
        self.parameters.get("__results__")?.as_object()
    }

    /// The status; success when the header has none.
    pub fn is_ok(&self) -> bool {
        self.header.status.as_deref().is_none_or(Status::is_ok)
    }
}

impl Route {
    /// The Executor without its replica: `encoder` of `encoder/rep-1`.
    pub fn executor_name(&self) -> &str {
        match self.executor.rsplit_once('/') {
            Some((name, replica)) if replica.starts_with("rep-") => name,
            _ => &self.executor,
        }
    }
}

impl Status {
    /// Any code but 0 is an error, whatever the Jina release.
    pub fn is_ok(&self) -> bool {
        self.code == 0
    }
}
