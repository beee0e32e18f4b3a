//! Requests and responses, both of which are Jina's `DataRequest`.

use std::time::SystemTime;

use compact_str::CompactString;

use super::{Document, Map};

/// A request or a response, decoded completely.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DataRequest {
    /// Id, endpoint, status.
    pub header: Header,
    /// Parameters of the request; in a response, also what Executors returned, under `__results__`.
    pub parameters: Map,
    /// The gateway and every Executor the request passed through, in the order of the Flow. Empty in requests
    /// and in v2's HTTP responses.
    pub routes: Vec<Route>,
    /// The Documents; `None` if the message has no data at all, such as a request without inputs.
    pub data: Option<Vec<Document>>,
}

/// The header of a request or a response.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Header {
    /// Identifies the request; its response repeats it.
    pub request_id: String,
    /// The endpoint, `on` in the client.
    pub exec_endpoint: Option<String>,
    /// A regular expression that Executor names are matched against.
    pub target_executor: Option<String>,
    /// Absent on success.
    pub status: Option<Box<Status>>,
}

/// How a request, or one Executor's part in it, ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// 0 is success, anything else an error.
    pub code: i32,
    /// Usually the `repr` of the exception.
    pub description: String,
    /// The exception, if there was one.
    pub exception: Option<ExceptionInfo>,
}

/// A Python exception as reported by an Executor.
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

/// One hop of a request: the gateway or an Executor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Route {
    /// The Executor's name, or `gateway`; with its replica if the Flow reports it.
    pub executor: CompactString,
    /// When the request arrived, by the gateway's clock.
    pub start_time: Option<SystemTime>,
    /// When it left; absent for an Executor that was skipped.
    pub end_time: Option<SystemTime>,
    /// The failure of this Executor, if there was one.
    pub status: Option<Box<Status>>,
}

/// The part that is read of every response: everything except parameters and Documents.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Head {
    /// Id, endpoint, status.
    pub header: Header,
    /// `None` if the form carries no routes (HTTP of v2).
    pub routes: Option<Vec<Route>>,
    /// The number of Documents, if it is known without decoding them.
    pub documents: Option<u64>,
}

impl DataRequest {
    /// The Documents; empty if the message has no data.
    pub fn docs(&self) -> &[Document] {
        self.data.as_deref().unwrap_or_default()
    }

    /// What Executors returned as a dict, by pod name (`indexer/rep-0`).
    pub fn results(&self) -> Option<&Map> {
        self.parameters.get("__results__")?.as_object()
    }

    /// Whether the status is success, as it is when the header has none.
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
