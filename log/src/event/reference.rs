//! Generates `docs/events.md` from the catalogue and the structs beside it, so that the page cannot say anything else
//! than the code. `SILTSTONE_BLESS=1 cargo test -p siltstone-log events_page` writes it again.

use super::Event;
use std::fmt::Write;

/// Every file that defines a part of a body, in the order the page shows them.
const SOURCES: [&str; 7] = [
    include_str!("actor.rs"),
    include_str!("log.rs"),
    include_str!("bucket.rs"),
    include_str!("identity.rs"),
    include_str!("object.rs"),
    include_str!("multipart.rs"),
    include_str!("access.rs"),
];

const INTRODUCTION: &str = "# Events
Everything that can happen, as records say it. Generated from `log/src/event/mod.rs` and the files beside it; `SILTSTONE_BLESS=1 cargo
test -p siltstone-log events_page` writes it again.

A record's body is a 16-byte salt and one MessagePack array `[actor, event]`; structs are arrays of their fields in the order shown
here, an enum is the variant's name or a map from it to its fields. Type and schema stand in the record's header. A number is never
used again; a changed struct gets a new schema number, and bodies of the old one are read through an up-caster for ever.

## As JSON
`siltstone log inspect`, `log tail` and `log export` (a line for each record) print this form. Fields may be added; none changes its meaning or goes.

| field | meaning |
|---|---|
| `position` | The record's place in this node's log, from 1. |
| `stream`, `name` | Its stream's id, and what people call it: `system`, `access`, `telemetry`, a bucket's is its id. |
| `seq` | Its number in the stream, from 1. |
| `time` | When it was decided, RFC 3339 in UTC. |
| `event`, `schema` | Its name and schema number; `erased` where the body was destroyed, `type 0x…` where this program does not know the type. |
| `actor`, `body` | As below, structs with the names of their fields; both null where the body cannot be shown. |
| `content_bytes` | Bytes of its inline content with the salt, 0 where there is none. The content itself is left out. |
| `body_hash`, `content_hash`, `head` | What the chain covers, and the chain's head after the record. The salts are left out. |

Byte strings (ids, hashes, checksums) are hexadecimal text. The `secret` of AccessKeyCreated is the text `sealed`. Positions that cannot be read are
`{\"unreadable\": {\"first\": …, \"last\": …, \"accepted\": …}}`; `accepted` says whether an administrator gave them up.

## Catalogue

";

/// A struct or an enum of the sources.
struct Definition<'a> {
    name: &'a str,
    doc: String,
    /// Fields with their types, or variants.
    rows: Vec<Row>,
    is_enum: bool,
}

struct Row {
    name: String,
    kind: String,
    doc: String,
}

/// Reads the definitions of a source, whose form rustfmt keeps.
fn definitions(source: &str) -> Vec<Definition<'_>> {
    let (mut found, mut doc) = (Vec::new(), String::new());
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        let opening = |keyword| line.strip_prefix(keyword).and_then(|rest: &str| rest.strip_suffix(" {"));
        if let Some(text) = line.strip_prefix("///") {
            push_doc(&mut doc, text);
        } else if let Some(name) = opening("pub struct ").or_else(|| opening("pub enum ")) {
            let is_enum = line.starts_with("pub enum");
            let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "}").collect();
            found.push(Definition {
                name,
                doc: std::mem::take(&mut doc),
                rows: rows(&body, is_enum),
                is_enum,
            });
        } else if !line.starts_with("#[") {
            doc.clear();
        }
    }
    found
}

fn rows(body: &[&str], is_enum: bool) -> Vec<Row> {
    let (mut rows, mut doc): (Vec<Row>, _) = (Vec::new(), String::new());
    for line in body {
        let deep = line.starts_with("        ");
        let line = line.trim();
        if let Some(text) = line.strip_prefix("///") {
            push_doc(&mut doc, text);
        } else if deep && line.ends_with(',') && is_enum {
            // A field of a variant.
            let field = line.trim_end_matches(',');
            let meaning = std::mem::take(&mut doc);
            let row = rows.last_mut().unwrap();
            let separator = if row.kind.is_empty() { "" } else { "; " };
            write!(row.kind, "{separator}`{field}` {}", meaning.trim_end_matches('.')).unwrap();
        } else if line.starts_with('}') || line.starts_with("#[") {
        } else if is_enum {
            let name = line.trim_end_matches([',', '{']).trim();
            let (name, kind) = name.split_once('(').map_or((name, String::new()), |(name, kind)| {
                (name, format!("`{}`", kind.trim_end_matches(')')))
            });
            rows.push(Row { name: name.to_owned(), kind, doc: std::mem::take(&mut doc) });
        } else {
            let field = line.trim_start_matches("pub ").trim_end_matches(',');
            let (name, kind) = field.split_once(": ").unwrap();
            let (name, kind) = (name.to_owned(), format!("`{kind}`"));
            rows.push(Row { name, kind, doc: std::mem::take(&mut doc) });
        }
    }
    rows
}

fn push_doc(doc: &mut String, text: &str) {
    if !doc.is_empty() {
        doc.push(' ');
    }
    doc.push_str(text.trim());
}

fn show(page: &mut String, heading: &str, definition: &Definition<'_>) {
    let column = if definition.is_enum { "variant" } else { "field" };
    let second = if definition.is_enum { "with" } else { "type" };
    write!(page, "\n### {heading}\n{}\n\n| {column} | {second} | meaning |\n|---|---|---|\n", definition.doc)
        .unwrap();
    for Row { name, kind, doc } in &definition.rows {
        writeln!(page, "| `{name}` | {kind} | {} |", doc.replace('|', "\\|")).unwrap();
    }
}

fn page() -> String {
    let all: Vec<Definition<'_>> = SOURCES.iter().flat_map(|source| definitions(source)).collect();
    let find = |name: &str| all.iter().find(|definition| definition.name == name);
    let mut page = INTRODUCTION.to_owned();
    page.push_str("| type | schema | event |\n|---|---|---|\n");
    for (number, schema, name) in Event::CATALOGUE {
        writeln!(page, "| {number:#06x} | {schema} | [{name}](#{}) |", name.to_lowercase()).unwrap();
    }
    page.push_str("\n## Fields of events\n");
    for (_, _, name) in Event::CATALOGUE {
        let definition =
            find(name).unwrap_or_else(|| panic!("no source defines {name}: add its file to SOURCES"));
        assert!(!definition.rows.is_empty() && !definition.doc.is_empty(), "{name} is described");
        show(&mut page, name, definition);
    }
    page.push_str("\n## Their parts\nIds are byte strings: 16 bytes, a `Hash` 32. `Position`, `Seq` and `Hlc` are 64-bit numbers.\n");
    for definition in &all {
        if !Event::CATALOGUE.iter().any(|(_, _, name)| *name == definition.name) {
            show(&mut page, definition.name, definition);
        }
    }
    page
}

#[test]
fn the_events_page_is_what_the_code_says() {
    crate::bless::bless_or_compare("docs/events.md", page());
}
