//! Paths of a port that take no Documents: `/`, `/dry_run`, `/status` and `/openapi.json`.

use hyper::StatusCode;
use serde_json::json;

use super::about::about;
use super::handle::Gateway;
use super::openapi;
use super::reply::{self, Reply};
use crate::wire::Protocol;

/// The answer of the path, if it is one of these.
pub(super) fn route(gateway: &Gateway, protocol: Protocol, path: &str) -> Option<Reply> {
    Some(reply::json(
        StatusCode::OK,
        &match path {
            "/" => json!({}),
            "/dry_run" => match gateway.dry_run_status() {
                None => json!({"code": 0, "description": "", "exception": null}),
                Some(status) => {
                    let exception = status.exception.unwrap_or_default();
                    json!({
                        "code": status.code,
                        "description": status.description,
                        "exception": {
                            "name": exception.name,
                            "args": exception.args,
                            "stacks": exception.stacks,
                            "executor": exception.executor,
                        },
                    })
                }
            },
            "/status" => {
                let (jina, envs) = about(gateway);
                json!({"jina": jina, "envs": envs})
            }
            "/openapi.json" => openapi::schema(gateway, protocol),
            _ => return None,
        },
    ))
}
