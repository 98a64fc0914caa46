//! The configuration file as JSON Schema, so that editors complete and check it.

use super::{SECTIONS, TABLE};
use serde_json::{Map, Value, json};

/// The schema of the file (draft 2020-12), made from the table of settings. Rules between settings and ranges are not in
/// it: `siltstone config check` knows them.
pub fn schema() -> Value {
    let sections: Map<String, Value> =
        SECTIONS.iter().map(|(name, about)| (name.to_string(), section(name, about))).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of Siltstone",
        "type": "object",
        "properties": sections,
        "additionalProperties": false,
    })
}

fn section(name: &str, about: &str) -> Value {
    let settings = TABLE.iter().filter(|info| info.section == name);
    let settings: Map<String, Value> = settings
        .map(|info| {
            let mut setting = (info.schema)();
            setting["description"] = info.doc.trim().into();
            setting["default"] = info.default.into();
            (info.key.to_owned(), setting)
        })
        .collect();
    json!({ "description": about.trim(), "type": "object", "properties": settings, "additionalProperties": false })
}
