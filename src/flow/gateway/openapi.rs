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
        // The absence of further paths tells clients to send Documents elsewhere.
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
            for endpoint in gateway.topology.endpoints() {
                match gateway.topology.stream(endpoint) {
                    None => add(endpoint, "post", format!("Endpoint {endpoint}"), true),
                    Some(_) => {
                        add(endpoint, "get", format!("Streaming Endpoint {endpoint}"), false);
                    }
                }
            }
            if gateway.topology.has_default() {
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
    let mut own = Map::new();
    for (endpoint, schema) in gateway.topology.own_schemas() {
        let Some(operation) = paths.get_mut(endpoint).and_then(|methods| methods.get_mut("post"))
        else {
            continue;
        };
        let name = hoisted(endpoint, schema, &mut own);
        let doc = json!({"$ref": format!("#/components/schemas/{name}")});
        let docs = json!({"type": "array", "items": doc});
        let model = |data: Value, other: &Value| {
            let mut properties = other.clone();
            properties["data"] = data;
            object(properties)
        };
        let bare = endpoint.trim_matches('/').replace('/', "_");
        let models = [
            (format!("{bare}_input_model"), model(json!({"anyOf": [docs, doc]}), &request)),
            (format!("{bare}_output_model"), model(docs.clone(), &response)),
        ];
        let content = |name: &str| json!({"application/json": {"schema": {"$ref": format!("#/components/schemas/{name}")}}});
        operation["requestBody"]["content"] = content(&models[0].0);
        operation["responses"]["200"]["content"] = content(&models[1].0);
        own.extend(models);
    }
    let problems = json!({"detail": {"type": "array", "items": {"type": "object"}}});
    let mut components = Map::from_iter([
        ("Request".to_owned(), object(request)),
        ("Response".to_owned(), object(response)),
        ("HTTPValidationError".to_owned(), object(problems)),
    ]);
    components.extend(own);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "My Jina Service",
            "description": "An embedded Flow of flowbench.",
            "version": version,
        },
        "paths": paths,
        "components": {"schemas": components},
    })
}

/// Moves a schema and its definitions into the components and returns its name there.
fn hoisted(endpoint: &str, schema: &Value, components: &mut Map<String, Value>) -> String {
    let bare = endpoint.trim_matches('/').replace('/', "_");
    let mut schema = schema.clone();
    let mut defined = Map::new();
    for key in ["$defs", "definitions"] {
        if let Some(Value::Object(all)) = schema.as_object_mut().and_then(|map| map.remove(key)) {
            defined.extend(all);
        }
    }
    let title = schema.get("title").and_then(Value::as_str).unwrap_or("Document").to_owned();
    let root = schema.get("$ref").and_then(Value::as_str).and_then(|to| to.rsplit('/').next());
    let root = root.map(str::to_owned);
    if root.is_none() {
        defined.insert(title.clone(), schema);
    }
    // Two endpoints may use one name for different schemas.
    let names: Vec<(String, String)> = defined
        .iter()
        .map(|(name, schema)| {
            let is_free = components.get(name).is_none_or(|known| *known == renamed(schema, &[]));
            (name.clone(), if is_free { name.clone() } else { format!("{bare}_{name}") })
        })
        .collect();
    for (name, schema) in &defined {
        let to = names.iter().find(|(known, _)| known == name).map_or(name, |(_, to)| to);
        components.insert(to.clone(), renamed(schema, &names));
    }
    let root = root.unwrap_or(title);
    names.into_iter().find(|(known, _)| *known == root).map_or(root, |(_, to)| to)
}

/// A schema whose references point to the components.
fn renamed(schema: &Value, names: &[(String, String)]) -> Value {
    match schema {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| match (key.as_str(), value.as_str()) {
                ("$ref", Some(to)) => {
                    let last = to.rsplit('/').next().unwrap_or(to);
                    let name = names.iter().find(|(known, _)| known == last);
                    let name = name.map_or(last, |(_, to)| to);
                    (key.clone(), format!("#/components/schemas/{name}").into())
                }
                _ => (key.clone(), renamed(value, names)),
            })
            .collect::<Map<String, Value>>()
            .into(),
        Value::Array(items) => items.iter().map(|item| renamed(item, names)).collect(),
        value => value.clone(),
    }
}
