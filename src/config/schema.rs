//! The JSON Schema of connection files, for editors.

use super::file::ConnectionFile;

/// The schema as pretty-printed JSON with a trailing newline, as committed in `schema/connection.schema.json`.
pub fn connection_schema() -> String {
    let schema = schemars::schema_for!(ConnectionFile);
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is plain JSON");
    text.push('\n');
    text
}
