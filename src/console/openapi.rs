//! The description of the API (OpenAPI 3.1), made from the table of routes and the bodies they take. Served at
//! `/api/v1/openapi.json`, and kept in the repository as `docs/openapi.json`, which a test compares:
//! `SILTSTONE_BLESS=1 cargo test -p siltstone --lib openapi` writes it again.
//!
//! Source: OpenAPI Specification 3.1.1, <https://spec.openapis.org/oas/v3.1.1.html>.

use super::route::{PREFIX, ROUTES, RouteInfo, Segment};
use http::Method;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// Where the description is served.
pub const PATH: &str = "/api/v1/openapi.json";

/// A body.
pub struct Schema {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Its fields.
    pub fields: &'static [BodyField],
}

/// A field of a body: a text.
pub struct BodyField {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Whether it must be given.
    pub required: bool,
    /// Whether it is never told again.
    pub secret: bool,
}

/// A field of an answer; all fields of an answer are always there.
pub struct Field {
    name: &'static str,
    kind: Kind,
}

enum Kind {
    Text,
    /// A text or null.
    Maybe,
    Status,
}

impl Field {
    /// A text.
    pub const fn text(name: &'static str) -> Self {
        Self { name, kind: Kind::Text }
    }

    /// A text, or null.
    pub const fn maybe(name: &'static str) -> Self {
        Self { name, kind: Kind::Maybe }
    }

    /// Whether something may be used.
    pub const fn status() -> Self {
        Self { name: "status", kind: Kind::Status }
    }

    fn schema(&self) -> Value {
        match self.kind {
            Kind::Text => json!({ "type": "string" }),
            Kind::Maybe => json!({ "type": ["string", "null"] }),
            Kind::Status => json!({ "type": "string", "enum": ["active", "suspended"] }),
        }
    }
}

/// What a route answers.
pub enum Answer {
    /// One thing.
    One(&'static [Field]),
    /// A change: the thing as it is now, and where its event stands.
    Changed(&'static [Field]),
    /// A page of a list, which takes `after` and `limit`.
    Page(&'static [Field]),
    /// A list that is always whole; of the same form.
    Whole(&'static [Field]),
}

/// The description.
pub static DOCUMENT: LazyLock<Value> = LazyLock::new(document);

fn document() -> Value {
    let mut paths = Map::new();
    for info in &ROUTES {
        let path = format!("{PREFIX}{}", info.path);
        let methods = paths.entry(path).or_insert_with(|| json!({ "parameters": path_parameters(info) }));
        methods[info.method.as_str().to_lowercase()] = operation(info);
    }
    for (path, summary, kind) in [
        (PATH, "This document", "application/json"),
        ("/healthz", "Whether the process answers", "text/plain"),
        ("/readyz", "Whether requests would be carried out; 503 where not", "application/json"),
    ] {
        let answer = json!({ "description": "As asked", "content": { kind: {} } });
        let mut get = json!({ "summary": summary, "security": [], "responses": { "200": answer } });
        if path == "/readyz" {
            let answer = json!({ "description": "Not now", "content": { kind: {} } });
            get["responses"]["503"] = answer;
        }
        paths.insert(path.to_owned(), json!({ "get": get }));
    }
    let bodies = ROUTES.iter().filter_map(|info| info.body.as_ref());
    let mut schemas: Map<String, Value> =
        bodies.map(|body| (body.name.to_owned(), body_schema(body))).collect();
    schemas.insert("Problem".to_owned(), problem_schema());
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "Siltstone console API",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            "description": "Every change is an event of the log: `position` and `event_id` in its answer say which. \
                Errors are problem details (RFC 9457); `code` is stable.",
        },
        "servers": [{ "url": "/" }],
        "security": [{ "sigv4": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "sigv4": {
                "type": "apiKey",
                "in": "header",
                "name": "Authorization",
                "description": "AWS Signature Version 4 for the service `siltstone`, in headers, over the body's SHA-256.",
            } },
            "responses": { "Problem": {
                "description": "Why it was not done",
                "content": { "application/problem+json": { "schema": reference("Problem") } },
            } },
        },
    })
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn path_parameters(info: &RouteInfo) -> Vec<Value> {
    let parameter = |segment| match segment {
        Segment::Fixed(_) => None,
        Segment::Parameter(name) => {
            let schema = json!({ "type": "string", "minLength": 1 });
            Some(json!({ "name": name, "in": "path", "required": true, "schema": schema }))
        }
    };
    info.segments().filter_map(parameter).collect()
}

fn operation(info: &RouteInfo) -> Value {
    let name = info.action.trim_start_matches("admin:");
    let about = format!("Needs the right to {}.", info.action);
    let schema = match &info.answer {
        Answer::One(fields) => object(fields, false),
        Answer::Changed(fields) => object(fields, true),
        Answer::Page(fields) | Answer::Whole(fields) => json!({
            "type": "object",
            "required": ["items", "next"],
            "additionalProperties": false,
            "properties": {
                "items": { "type": "array", "items": object(fields, false) },
                "next": {
                    "type": ["string", "null"],
                    "description": "Give it as `after` for the next page; null where there is none.",
                },
            },
        }),
    };
    let answer = json!({ "description": "Done", "content": { "application/json": { "schema": schema } } });
    let problem = json!({ "$ref": "#/components/responses/Problem" });
    let mut operation = json!({
        "operationId": name,
        "summary": info.summary,
        "description": about,
        "responses": { info.status.as_str(): answer, "default": problem },
    });
    if let Answer::Page(_) = info.answer {
        operation["parameters"] = json!([
            { "name": "after", "in": "query", "schema": { "type": "string" } },
            { "name": "limit", "in": "query", "schema": { "type": "integer", "minimum": 1, "maximum": 1000 } },
        ]);
    }
    if let Answer::Changed(_) = info.answer {
        operation["parameters"] = json!([{
            "name": "dry_run", "in": "query", "schema": { "type": "boolean" },
            "description": "Answer what would be done, or why what is there forbids it, and change nothing. Whether there is space, and whether the log takes writes, is not asked.",
        }]);
    }
    if let Some(body) = &info.body {
        let required = body.fields.iter().any(|field| field.required);
        let content = json!({ "application/json": { "schema": reference(body.name) } });
        operation["requestBody"] = json!({ "required": required, "content": content });
    }
    debug_assert!(info.method != Method::GET || info.body.is_none(), "a GET has no body");
    operation
}

/// An answer's object; a change says besides where its event is.
fn object(fields: &[Field], change: bool) -> Value {
    let mut properties: Map<String, Value> =
        fields.iter().map(|field| (field.name.to_owned(), field.schema())).collect();
    if change {
        let position = json!({
            "type": ["integer", "null"], "description": "The event's place in the log; null in a dry run.",
        });
        let event = json!({
            "type": ["string", "null"], "description": "Its stream and its number there; null in a dry run.",
        });
        let dry_run = json!({ "type": "boolean", "description": "Whether nothing was done." });
        properties.insert("dry_run".to_owned(), dry_run);
        properties.insert("position".to_owned(), position);
        properties.insert("event_id".to_owned(), event);
        properties.insert("request_id".to_owned(), json!({ "type": "string" }));
    }
    let required: Vec<&String> = properties.keys().collect();
    json!({
        "type": "object",
        "required": required,
        "additionalProperties": false,
        "properties": properties,
    })
}

fn body_schema(body: &Schema) -> Value {
    let property = |field: &BodyField| {
        // A status is the same wherever it stands.
        let status = Field::status();
        let kind = if field.name == status.name { status } else { Field::text(field.name) };
        let mut schema = kind.schema();
        schema["description"] = field.about.trim().into();
        if !field.required {
            schema["type"] = json!(["string", "null"]);
        }
        if field.secret {
            schema["writeOnly"] = true.into();
        }
        (field.name.to_owned(), schema)
    };
    let properties: Map<String, Value> = body.fields.iter().map(property).collect();
    let required: Vec<&str> =
        body.fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    json!({
        "type": "object",
        "description": body.about.trim(),
        "required": required,
        "additionalProperties": false,
        "properties": properties,
    })
}

/// [`super::problem::Problem`] as it is sent.
fn problem_schema() -> Value {
    let text = json!({ "type": "string" });
    let field = json!({
        "type": "object",
        "required": ["field", "message"],
        "additionalProperties": false,
        "properties": { "field": text, "message": text },
    });
    json!({
        "type": "object",
        "description": "RFC 9457.",
        "required": ["type", "title", "status", "code", "detail"],
        "additionalProperties": false,
        "properties": {
            "type": text,
            "title": text,
            "status": { "type": "integer" },
            "code": { "type": "string", "description": "The kind, for programs: stable." },
            "detail": text,
            "request_id": text,
            "errors": { "type": "array", "items": field },
        },
    })
}

/// An operation by the action it needs, with its path.
#[cfg(test)]
pub(super) fn operation_of(action: &str) -> Option<(String, Value)> {
    let id = action.trim_start_matches("admin:");
    for (path, methods) in DOCUMENT["paths"].as_object()? {
        for (_, operation) in methods.as_object()? {
            if operation["operationId"] == id {
                return Some((path.clone(), operation.clone()));
            }
        }
    }
    None
}

/// Whether a value is what a schema of this document says, as far as this document uses JSON Schema.
#[cfg(test)]
pub(super) fn conforms(value: &Value, schema: &Value) -> Result<(), String> {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let types = &schema["type"];
    if types != kind && !types.as_array().is_some_and(|types| types.contains(&kind.into())) {
        return Err(format!("{value} is no {types}"));
    }
    if schema["enum"].as_array().is_some_and(|values| !values.contains(value)) {
        return Err(format!("{value} is none of {}", schema["enum"]));
    }
    for item in value.as_array().into_iter().flatten() {
        conforms(item, &schema["items"])?;
    }
    let Some(fields) = value.as_object() else { return Ok(()) };
    for name in schema["required"].as_array().into_iter().flatten() {
        if !fields.contains_key(name.as_str().unwrap_or_default()) {
            return Err(format!("{name} is missing"));
        }
    }
    for (name, field) in fields {
        let known = schema["properties"].get(name).ok_or_else(|| format!("{name} is not described"))?;
        conforms(field, known).map_err(|why| format!("{name}: {why}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_committed_openapi_document_is_what_the_code_says() {
        crate::bless::bless_or_compare("docs/openapi.json", format!("{:#}\n", *DOCUMENT));
    }

    #[test]
    fn every_route_is_described_once() {
        let paths = DOCUMENT["paths"].as_object().unwrap();
        let operations = paths.values().flat_map(|methods| methods.as_object().unwrap().values());
        let ids: Vec<&str> = operations.filter_map(|operation| operation["operationId"].as_str()).collect();
        let expected: BTreeSet<&str> =
            ROUTES.iter().map(|info| info.action.trim_start_matches("admin:")).collect();
        assert_eq!(ids.len(), ROUTES.len());
        assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), expected);
    }

    #[test]
    fn a_status_is_given_as_it_is_answered_and_a_server_that_is_not_ready_is_described() {
        let given = &DOCUMENT["components"]["schemas"]["NewStatus"]["properties"]["status"];
        assert_eq!(given["enum"], Field::status().schema()["enum"]);
        assert_eq!(DOCUMENT["servers"], json!([{ "url": "/" }]));
        let answers = |path: &str| DOCUMENT["paths"][path]["get"]["responses"].as_object().unwrap().len();
        assert_eq!((answers("/readyz"), answers("/healthz")), (2, 1));
    }

    #[test]
    fn an_answer_with_another_field_or_without_one_does_not_conform() {
        let schema = object(&[Field::text("user"), Field::status()], false);
        assert_eq!(conforms(&json!({ "user": "a", "status": "active" }), &schema), Ok(()));
        for wrong in [
            json!({ "user": "a" }),
            json!({ "user": "a", "status": "gone" }),
            json!({ "user": null, "status": "active" }),
            json!({ "user": "a", "status": "active", "more": 1 }),
            json!([]),
        ] {
            assert!(conforms(&wrong, &schema).is_err(), "{wrong}");
        }
    }
}
