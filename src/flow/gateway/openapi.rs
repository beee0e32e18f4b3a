//! `/openapi.json`.

use serde_json::{Map, Value, json};

use super::handle::Gateway;
use crate::wire::{Family, Protocol};

/// The description of all routes of a port.
pub(super) fn schema(gateway: &Gateway, protocol: Protocol) -> Value {
    let mut paths = Map::new();
    let mut add = |path: &str, method: &str, summary: String, body: bool| {
        let schema = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
        let content = |schema: Value| json!({"application/json": {"schema": schema}});
        let mut operation = json!({
            "summary": summary,
            "operationId": format!("{}_{method}", path.trim_matches('/').replace('/', "_")),
            "responses": {"200": {"description": "Successful Response"}},
        });
        if body {
            operation["requestBody"] =
                json!({"content": content(schema("Request")), "required": true});
            operation["responses"]["200"]["content"] = content(schema("Response"));
            operation["responses"]["422"] = json!({
                "description": "Validation Error",
                "content": content(schema("HTTPValidationError")),
            });
        }
        let methods = paths.entry(path).or_insert_with(|| json!({}));
        methods[method] = operation;
    };
    add("/", "get", "Get the health of Jina Gateway service".into(), false);
    let readiness = "Get the readiness of Jina Flow service, sends an empty DocumentArray to the complete Flow to validate connectivity";
    add("/dry_run", "get", readiness.into(), false);
    add("/status", "get", "Get the status of Jina service".into(), false);
    match gateway.family {
        // The absence of further paths tells clients that Documents are taken elsewhere.
        _ if protocol == Protocol::WebSocket => (),
        Family::V1 => {
            add("/post", "post", "Post a data request to some endpoint".into(), true);
            if gateway.crud {
                for (path, method) in [
                    ("/index", "post"),
                    ("/search", "post"),
                    ("/delete", "delete"),
                    ("/update", "put"),
                ] {
                    add(path, method, path.into(), true);
                }
            }
            for endpoint in &gateway.expose {
                add(endpoint, "post", endpoint.clone(), true);
            }
            if gateway.graphql {
                add("/graphql", "get", "Handle Http Get".into(), false);
                add("/graphql", "post", "Handle Http Post".into(), false);
            }
        }
        Family::V2 => {
            for endpoint in gateway.endpoints() {
                match gateway.stream(endpoint) {
                    None => add(endpoint, "post", format!("Endpoint {endpoint}"), true),
                    Some(_) => {
                        add(endpoint, "get", format!("Streaming Endpoint {endpoint}"), false);
                    }
                }
            }
            if gateway.has_default() {
                add("/default", "post", "Endpoint /default".into(), true);
            }
        }
    }
    let (version, request, response) = match gateway.family {
        Family::V1 => (
            "3.12.0",
            json!({
                "data": {"type": "array", "items": {"type": "object"}},
                "targetExecutor": {"type": "string"},
                "parameters": {"type": "object"},
                "execEndpoint": {"type": "string", "default": "/"},
            }),
            json!({
                "header": {"type": "object"},
                "parameters": {"type": "object"},
                "routes": {"type": "array", "items": {"type": "object"}},
                "data": {"type": "array", "items": {"type": "object"}},
            }),
        ),
        Family::V2 => (
            "3.34.0",
            json!({
                "data": {"anyOf": [{"type": "array", "items": {"type": "object"}}, {"type": "object"}]},
                "parameters": {"anyOf": [{"type": "object"}, {"type": "null"}]},
                "header": {"anyOf": [{"type": "object"}, {"type": "null"}]},
            }),
            json!({
                "data": {"type": "array", "items": {"type": "object"}},
                "parameters": {"type": "object"},
                "header": {"type": "object"},
            }),
        ),
    };
    let object = |properties: Value| json!({"type": "object", "properties": properties});
    let problems = json!({"detail": {"type": "array", "items": {"type": "object"}}});
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "My Jina Service",
            "description": "An embedded Flow of flowbench.",
            "version": version,
        },
        "paths": paths,
        "components": {"schemas": {
            "Request": object(request),
            "Response": object(response),
            "HTTPValidationError": object(problems),
        }},
    })
}
