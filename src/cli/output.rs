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
        Format::Table => {
            let heading = columns.iter().map(|name| name.to_uppercase()).collect();
            let row =
                |item: &Value| columns.iter().map(|name| item.get(name).map_or_else(dash, cell)).collect();
            let rows: Vec<Vec<String>> = std::iter::once(heading).chain(items.iter().map(row)).collect();
            print_rows(out, &rows)
        }
    }
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
    fn an_object_is_lines_of_names_and_values() {
        let mut out = Vec::new();
        print_object(&mut out, Format::Table, &json!({"a": 1, "long": ["x", "y"]})).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "a     1\nlong  x,y\n");
    }
}
