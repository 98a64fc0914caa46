//! What a command says: data on stdout as a table, JSON or a line of JSON each; everything else on stderr.

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::Value;
use std::io::{self, Write};

/// The form of the data on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON value.
    Json,
    /// One JSON value a line.
    Ndjson,
    /// One YAML document.
    Yaml,
}

/// The flags of every command that prints data.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct OutputArgs {
    /// Form of the data on stdout
    #[arg(short = 'o', long = "output", value_enum, value_name = "FORMAT", default_value_t)]
    output: Format,
    /// Short for `-o json`
    #[arg(long)]
    json: bool,
}

impl OutputArgs {
    /// The form asked for.
    pub fn format(self) -> Format {
        if self.json { Format::Json } else { self.output }
    }
}

/// Prints one value; the table form shows `name  value` lines.
pub fn print_object(out: &mut dyn Write, format: Format, value: &impl Serialize) -> io::Result<()> {
    let value = serde_json::to_value(value)?;
    match format {
        Format::Json => writeln!(out, "{value:#}"),
        Format::Ndjson => writeln!(out, "{value}"),
        Format::Yaml => out.write_all(yaml(&value, 0).as_bytes()),
        Format::Table => match &value {
            Value::Object(fields) => {
                let rows: Vec<Vec<String>> =
                    fields.iter().map(|(name, value)| vec![name.clone(), cell(value)]).collect();
                print_rows(out, &rows)
            }
            other => writeln!(out, "{}", cell(other)),
        },
    }
}

/// Prints values of one kind; the table form has a column for each name in `columns`.
pub fn print_list<T: Serialize>(
    out: &mut dyn Write,
    format: Format,
    columns: &[&str],
    items: &[T],
) -> io::Result<()> {
    let items: Result<Vec<Value>, _> = items.iter().map(serde_json::to_value).collect();
    let items = items?;
    match format {
        Format::Json => writeln!(out, "{:#}", Value::Array(items)),
        Format::Ndjson => items.iter().try_for_each(|item| writeln!(out, "{item}")),
        Format::Yaml => out.write_all(yaml(&Value::Array(items), 0).as_bytes()),
        Format::Table => {
            let heading = columns.iter().map(|name| name.to_uppercase()).collect();
            let row =
                |item: &Value| columns.iter().map(|name| item.get(name).map_or_else(dash, cell)).collect();
            let rows: Vec<Vec<String>> = std::iter::once(heading).chain(items.iter().map(row)).collect();
            print_rows(out, &rows)
        }
    }
}

/// A value as YAML 1.2 in block style. Texts and names are quoted as JSON quotes them, which YAML reads alike, so that
/// none is taken for a number, a truth value or a comment.
fn yaml(value: &Value, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    let nested = |value: &Value| match value {
        Value::Array(items) if items.is_empty() => " []\n".to_owned(),
        Value::Object(fields) if fields.is_empty() => " {}\n".to_owned(),
        Value::Array(_) | Value::Object(_) => format!("\n{}", yaml(value, depth + 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => format!(" {value}\n"),
    };
    let lines: Vec<String> = match value {
        Value::Array(items) if !items.is_empty() => {
            items.iter().map(|item| format!("{indent}-{}", nested(item))).collect()
        }
        Value::Object(fields) if !fields.is_empty() => {
            let name = |name: &String| Value::String(name.clone());
            fields.iter().map(|(key, value)| format!("{indent}{}:{}", name(key), nested(value))).collect()
        }
        other => vec![format!("{indent}{other}\n")],
    };
    lines.concat()
}

fn dash() -> String {
    "-".to_owned()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => dash(),
        Value::String(text) => printable(text),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// Text of others (names, keys) with its control characters escaped: it must not steer the terminal.
pub fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
        out
    })
}

fn print_rows(out: &mut dyn Write, rows: &[Vec<String>]) -> io::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|text| text.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let padded = row.iter().zip(&widths).map(|(text, width)| format!("{text:<width$}"));
        writeln!(out, "{}", padded.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn list(format: Format, items: &[Value]) -> String {
        let mut out = Vec::new();
        print_list(&mut out, format, &["user", "status"], items).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_list_is_a_table_an_array_or_lines() {
        let items =
            [json!({"user": "anna", "status": "active"}), json!({"user": "b\u{1b}[31m", "status": null})];
        assert_eq!(
            list(Format::Table, &items),
            "USER         STATUS\nanna         active\nb\\u{1b}[31m  -\n"
        );
        assert_eq!(serde_json::from_str::<Value>(&list(Format::Json, &items)).unwrap(), json!(items));
        assert_eq!(list(Format::Ndjson, &items).lines().count(), 2);
        assert_eq!(list(Format::Json, &[]), "[]\n");
    }

    #[test]
    fn yaml_quotes_what_could_be_taken_for_something_else() {
        let value = json!({ "a": "no", "list": [1, { "b": [], "c": null }], "none": {}, "x: y": "#\n" });
        let expected = "\"a\": \"no\"\n\"list\":\n  - 1\n  -\n    \"b\": []\n    \"c\": null\n\"none\": {}\n\"x: y\": \"#\\n\"\n";
        assert_eq!(yaml(&value, 0), expected);
        assert_eq!(list(Format::Yaml, &[]), "[]\n");
    }

    #[test]
    fn an_object_is_lines_of_names_and_values() {
        let mut out = Vec::new();
        print_object(&mut out, Format::Table, &json!({"a": 1, "long": ["x", "y"]})).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "a     1\nlong  x,y\n");
    }
}
