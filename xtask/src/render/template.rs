//! Templates: every value is quoted, every undefined name is an error, nothing depends on when or
//! where it runs.

use std::path::Path;

use anyhow::{Context, Result};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{
    AutoEscape, Environment, Output, State, UndefinedBehavior, Value, escape_formatter,
};
use serde::Serialize;

use super::quote;

/// The templates of a workspace.
pub struct Templates {
    engine: Environment<'static>,
}

impl Templates {
    /// The templates below a folder, read when they are first used.
    ///
    /// # Errors
    /// The syntax settings are refused, which would be a bug.
    pub fn new(folder: &Path) -> Result<Templates> {
        let mut engine = Environment::new();
        engine.set_loader(minijinja::path_loader(folder));
        engine.set_undefined_behavior(UndefinedBehavior::Strict);
        engine.set_auto_escape_callback(|name| match name {
            name if name.ends_with(".yaml.j2") || name.ends_with(".yml.j2") => AutoEscape::Json,
            _ => AutoEscape::None,
        });
        engine.set_formatter(format);
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .keep_trailing_newline(true)
            .build()
            .context("build the syntax of templates")?;
        engine.set_syntax(syntax);
        engine.add_filter("block", |text: String, indent: usize| {
            Value::from_safe_string(quote::block(&text, indent))
        });
        engine.add_filter("literal", |text: String| sql_literal(&text));
        Ok(Templates { engine })
    }

    /// Fills one template.
    ///
    /// # Errors
    /// The template does not exist, has a syntax error, or uses a name that is not defined; the
    /// message names template and line.
    pub fn fill(&self, name: &str, context: &impl Serialize) -> Result<String> {
        let filled = self.engine.get_template(name).and_then(|t| t.render(Serde(context)));
        filled.map_err(|error| {
            let line = error.line().map(|line| format!(":{line}")).unwrap_or_default();
            let place = format!("fill templates/{}{line}", error.name().unwrap_or(name));
            anyhow::Error::new(error).context(place)
        })
    }
}

/// Quotes a value that enters a YAML document; other files take it as it is.
fn format(
    output: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), minijinja::Error> {
    let quotes = matches!(state.auto_escape(), AutoEscape::Json) && !value.is_safe();
    if !quotes {
        return escape_formatter(output, state, value);
    }
    let json = serde_json::to_value(value).map_err(|error| {
        minijinja::Error::new(minijinja::ErrorKind::BadSerialization, error.to_string())
    })?;
    Ok(output.write_str(&quote::quoted(&json))?)
}

/// A text as an SQL literal.
fn sql_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(name: &str, template: &str) -> Result<String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), template).unwrap();
        let context = serde_json::json!({"on": "on", "flag": true, "list": ["a", "b"]});
        Templates::new(folder.path()).unwrap().fill(name, &context)
    }

    #[test]
    fn yaml_is_quoted() {
        let filled = fill("a.yaml.j2", "{{ on }} {{ flag }} {{ list }} {{ on ~ ':' ~ on }}\n");
        assert_eq!(filled.unwrap(), "\"on\" true [\"a\", \"b\"] \"on:on\"\n");
    }

    #[test]
    fn an_undefined_name_is_an_error_with_its_line() {
        let error = fill("a.yaml.j2", "a: 1\nb: {{ list.nope }}\n").unwrap_err();
        assert!(error.to_string().starts_with("fill templates/a.yaml.j2:2"), "{error}");
    }
}
