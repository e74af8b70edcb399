//! The reference of all fields, made from the definitions of the kinds. Pure.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

/// A field, in the order in which the page lists them.
struct Field<'a> {
    path: String,
    schema: &'a JSONSchemaProps,
    required: bool,
}

/// The name of the page about a kind.
#[must_use]
pub fn file_name(crd: &CustomResourceDefinition) -> String {
    format!("{}.md", crd.spec.names.kind.to_lowercase())
}

/// The page about a kind.
#[must_use]
pub fn markdown(crd: &CustomResourceDefinition) -> String {
    let names = &crd.spec.names;
    let mut text = format!("# {}\n\n<!-- Made from the definitions by `make crds`. Do not edit. -->\n\n", names.kind);
    let Some(version) = crd.spec.versions.first() else { return text };
    let Some(schema) = version.schema.as_ref().and_then(|s| s.open_api_v3_schema.as_ref()) else { return text };
    text += &format!("{}\n\n", one_line(schema.description.as_deref().unwrap_or_default()));
    let short: Vec<String> = names.short_names.iter().flatten().map(|name| format!("`{name}`")).collect();
    text += &format!(
        "`apiVersion: {}/{}`, `kind: {}`; {}; short name {}; `kubectl explain {} --recursive` shows the same.\n",
        crd.spec.group,
        version.name,
        names.kind,
        if crd.spec.scope == "Namespaced" { "in a namespace" } else { "belongs to no namespace" },
        short.join(", "),
        names.singular.as_deref().unwrap_or(&names.plural),
    );
    for part in ["spec", "status"] {
        if let Some(part_schema) = schema.properties.as_ref().and_then(|fields| fields.get(part)) {
            text += &format!("\n## {part}\n\n{}", table(part_schema));
        }
    }
    let mut fields = Vec::new();
    collect("", schema, &mut fields);
    let messages: Vec<String> =
        rules(schema)
            .map(|message| format!("| | {} |\n", cell(message)))
            .chain(fields.iter().flat_map(|field| {
                rules(field.schema).map(|message| format!("| `{}` | {} |\n", field.path, cell(message)))
            }))
            .collect();
    if !messages.is_empty() {
        text += "\n## What is refused, and with which words\n\n| field | message |\n| --- | --- |\n";
        text += &messages.concat();
    }
    text
}

fn table(schema: &JSONSchemaProps) -> String {
    let mut fields = Vec::new();
    collect("", schema, &mut fields);
    let mut text = "| field | type | required | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for field in fields {
        let required = if field.required { "yes" } else { "" };
        let meaning = cell(field.schema.description.as_deref().unwrap_or_default());
        text += &format!("| `{}` | {} | {required} | {meaning} |\n", field.path, kind(field.schema));
    }
    text
}

/// All fields below a schema: what is written first, then what is in it.
fn collect<'a>(path: &str, schema: &'a JSONSchemaProps, into: &mut Vec<Field<'a>>) {
    let required: Vec<&str> = schema.required.iter().flatten().map(String::as_str).collect();
    for (name, field) in schema.properties.iter().flatten() {
        // What every object has is explained elsewhere.
        if path.is_empty() && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            continue;
        }
        let list = if field.items.is_some() { "[]" } else { "" };
        let path = if path.is_empty() { format!("{name}{list}") } else { format!("{path}.{name}{list}") };
        into.push(Field { path: path.clone(), schema: field, required: required.contains(&name.as_str()) });
        collect(&path, items(field).unwrap_or(field), into);
    }
}

fn items(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match schema.items.as_ref()? {
        JSONSchemaPropsOrArray::Schema(schema) => Some(schema),
        JSONSchemaPropsOrArray::Schemas(_) => None,
    }
}

/// A field's type with its limits, in words.
fn kind(schema: &JSONSchemaProps) -> String {
    if let Some(inner) = items(schema) {
        let number = range(schema.min_items, schema.max_items, "").replace('(', "of ").replace(')', "");
        let of = format(schema).map_or_else(|| kind(inner), link);
        return format!("list{number}: {of}");
    }
    if let Some(values) = &schema.enum_ {
        let values: Vec<String> =
            values.iter().map(|value| format!("`{}`", value.0.as_str().unwrap_or("null"))).collect();
        return values.join(", ");
    }
    match schema.type_.as_deref() {
        Some("object") => match &schema.additional_properties {
            Some(JSONSchemaPropsOrBool::Schema(inner)) => format!("map to {}", kind(inner)),
            _ => "object".to_owned(),
        },
        Some("string") if schema.format.as_deref() == Some("date-time") => "time (RFC 3339)".to_owned(),
        Some("string") => format(schema)
            .map_or_else(|| format!("text{}", range(schema.min_length, schema.max_length, " characters")), link),
        Some("integer" | "number") => {
            format!("number{}", range(whole(schema.minimum), whole(schema.maximum), ""))
        }
        Some("boolean") => "`true` or `false`".to_owned(),
        _ => "anything".to_owned(),
    }
}

/// The formats that several fields share, by how their refusals begin.
const FORMATS: [(&str, &str); 6] = [
    ("write a size", "size"),
    ("write the amount", "amount"),
    ("write the currency", "currency"),
    ("write the country", "country"),
    ("write each country", "country"),
    ("write a length of time", "time span"),
];

fn format(schema: &JSONSchemaProps) -> Option<&'static str> {
    let messages: Vec<&str> = rules(schema).collect();
    let known = FORMATS.iter().find(|(begin, _)| messages.iter().any(|message| message.starts_with(begin)));
    known.map(|(_, name)| *name)
}

fn link(format: &str) -> String {
    format!("[{format}](../api.md#formats)")
}

#[expect(clippy::cast_possible_truncation, reason = "limits are whole numbers far below 2^53")]
fn whole(limit: Option<f64>) -> Option<i64> {
    limit.map(|limit| limit as i64)
}

fn range(min: Option<i64>, max: Option<i64>, unit: &str) -> String {
    match (min.filter(|min| *min != 0), max) {
        (Some(min), Some(max)) => format!(" ({min} to {max}{unit})"),
        (None, Some(max)) => format!(" (at most {max}{unit})"),
        (Some(min), None) => format!(" (at least {min}{unit})"),
        (None, None) => String::new(),
    }
}

fn rules(schema: &JSONSchemaProps) -> impl Iterator<Item = &str> {
    let own = schema.x_kubernetes_validations.iter().flatten();
    let below = items(schema).into_iter().flat_map(|inner| inner.x_kubernetes_validations.iter().flatten());
    own.chain(below).filter_map(|rule| rule.message.as_deref())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn cell(text: &str) -> String {
    one_line(text).replace('|', "\\|")
}
