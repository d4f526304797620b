//! Weaviate, over its public HTTP API.

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::cutover::event::Story;
use crate::failure::Failure;
use crate::rag::export::collection::{Collection, FINGERPRINT, PAGE, Survey};
use crate::rag::export::point::{Name, Payload, Point};
use crate::rag::http::{Address, Method, Service};

/// The header of the key.
const KEY_HEADER: (&str, &str) = ("authorization", "Bearer ");
/// Weaviate's word for the distance of `vector_cosine_ops`.
const DISTANCE: &str = "cosine";
/// Each property: its name, its type, how its words are taken, and whether it is filtered by.
const PROPERTIES: [(&str, &str, Option<&str>, bool); 11] = [
    ("repo", "text", Some("field"), true),
    ("source_type", "text", Some("field"), true),
    ("source_id", "text", Some("field"), true),
    ("chunk_index", "int", None, true),
    ("chunk_text", "text", Some("word"), true),
    // A property has one type for ever, and metadata have any shape: hence their JSON as a text.
    ("metadata", "text", Some("field"), false),
    ("author", "text", Some("field"), true),
    ("labels", "text[]", Some("field"), true),
    ("source_updated_at", "date", None, true),
    ("deleted", "boolean", None, true),
    (FINGERPRINT, "text", Some("field"), false),
];

/// One class of one Weaviate.
pub(super) struct Weaviate {
    service: Service,
    class: String,
}

/// An object as Weaviate takes it.
#[derive(Serialize)]
struct Sent<'point> {
    class: &'point str,
    id: Uuid,
    properties: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector: Option<&'point [f32]>,
}

#[derive(Serialize)]
struct Batch<'point> {
    objects: Vec<Sent<'point>>,
}

impl Weaviate {
    /// A class at an address; nothing is sent yet.
    pub(super) fn new(address: &Address, class: &str, story: &Story) -> Result<Weaviate> {
        let begins = class.starts_with(|letter: char| letter.is_ascii_uppercase());
        let goes_on = class.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        if !begins || !goes_on || class.len() > 255 {
            return Err(Failure::usage(
                "a class of Weaviate begins with a capital and has letters, digits and _",
            )
            .hint("--collection Knowledge")
            .into());
        }
        let service = Service::new(address, KEY_HEADER, story)?;
        Ok(Weaviate { service, class: class.to_string() })
    }

    async fn ask(&self, query: &str) -> Result<Value> {
        let answer = self.service.send(Method::POST, "/v1/graphql", &json!({"query": query})).await;
        let mut body = answer?.success()?;
        // GraphQL answers 200 whatever happens.
        if let Some(message) = body.pointer("/errors/0/message").and_then(Value::as_str) {
            return Err(Failure::failed(format!("Weaviate refuses a query: {message}")).into());
        }
        Ok(body["data"].take())
    }

    /// Holds what is there against what the store needs.
    fn check(&self, class: &Value) -> Result<()> {
        let distance = class.pointer("/vectorIndexConfig/distance").and_then(Value::as_str);
        let vectorizer = class["vectorizer"].as_str();
        let named = class["vectorConfig"].as_object().is_some_and(|named| !named.is_empty());
        let there = match (named, vectorizer, distance) {
            (false, Some("none"), Some(DISTANCE)) => return Ok(()),
            (true, ..) => "named vectors".to_string(),
            (_, Some("none"), distance) => format!("distance {}", distance.unwrap_or("unknown")),
            (_, vectorizer, _) => format!("vectorizer {}", vectorizer.unwrap_or("unknown")),
        };
        Err(Failure::refused(format!(
            "the class {} has {there}; the store needs one vector, vectorizer none and distance \
             {DISTANCE}",
            self.class
        ))
        .hint("name another class with --collection, or remove this one")
        .into())
    }

    /// The class does not say how long its vectors are; the first ones do.
    async fn check_length(&self, dimensions: usize) -> Result<()> {
        let path = format!("/v1/objects?class={}&limit=10&include=vector", self.class);
        let found = self.service.get(&path).await?.success().context("look at some objects")?;
        let vectors = found["objects"].as_array().into_iter().flatten();
        let lengths = vectors.filter_map(|object| Some(object["vector"].as_array()?.len()));
        match lengths.filter(|length| *length != 0 && *length != dimensions).max() {
            None => Ok(()),
            Some(length) => Err(Failure::refused(format!(
                "the class {} has {length} dimensions; the store has {dimensions}",
                self.class
            ))
            .hint("name another class with --collection, or remove this one")
            .into()),
        }
    }

    fn sent<'point>(&'point self, point: &'point Point) -> Result<Sent<'point>> {
        let payload = serde_json::to_value(&point.payload).context("write a payload")?;
        let Value::Object(mut properties) = payload else { anyhow::bail!("write a payload") };
        properties.retain(|_, value| !value.is_null());
        properties.insert("metadata".into(), point.payload.metadata.to_string().into());
        properties.insert(FINGERPRINT.into(), format!("{:032x}", point.fingerprint()).into());
        Ok(Sent {
            class: &self.class,
            id: point.payload.name.id(),
            properties,
            vector: point.embedding.as_deref(),
        })
    }
}

impl Collection for Weaviate {
    fn place(&self) -> String {
        format!("{}/v1/schema/{}", self.service.url(), self.class)
    }

    async fn prepare(&self, dimensions: usize) -> Result<bool> {
        let path = format!("/v1/schema/{}", self.class);
        let known = self.service.get(&path).await?;
        let is_new = known.status == 404;
        let class = if is_new {
            let made = self.service.send(Method::POST, "/v1/schema", &class(&self.class)).await?;
            let seen = self.service.get(&path).await?;
            // 422 says also that it is there already: it was made meanwhile, or our first attempt
            // did it and its answer was lost.
            if made.status != 422 || seen.status == 404 {
                made.success().context("make the class")?;
            }
            seen.success().context("look at the class")?
        } else {
            known.success().context("look at the class")?
        };
        self.check(&class)?;
        self.check_length(dimensions).await?;
        Ok(is_new)
    }

    async fn survey(&self) -> Result<Survey> {
        let mut survey = Survey::default();
        let class = &self.class;
        let mut after = String::new();
        loop {
            let query = format!(
                "{{ Get {{ {class}(limit: {PAGE}, after: {after:?}) {{ repo source_type source_id \
                 chunk_index {FINGERPRINT} _additional {{ id }} }} }} }}"
            );
            let mut page = self.ask(&query).await.context("list the objects")?;
            let Value::Array(objects) = page["Get"][class].take() else { return Ok(survey) };
            let count = objects.len();
            for mut object in objects {
                let id = object["_additional"]["id"].as_str().unwrap_or("").to_string();
                let fingerprint = object[FINGERPRINT].as_str().map(str::to_string);
                let name = serde_json::from_value::<Name>(object.take()).ok();
                let named = name.map(|name| name.id());
                survey.add(id.parse().unwrap_or_default(), named, fingerprint.as_deref());
                after = id;
            }
            if count < PAGE {
                return Ok(survey);
            }
        }
    }

    async fn put(&self, points: &[Point]) -> Result<()> {
        let objects = points.iter().map(|point| self.sent(point)).collect::<Result<_>>()?;
        let answer = self.service.send(Method::POST, "/v1/batch/objects", &Batch { objects }).await;
        let said = answer?.success().context("write objects")?;
        // Each object has a verdict of its own.
        for object in said.as_array().into_iter().flatten() {
            if object.pointer("/result/status").and_then(Value::as_str) == Some("FAILED") {
                let why = object.pointer("/result/errors/error/0/message").and_then(Value::as_str);
                let message = format!(
                    "Weaviate refuses {}: {}",
                    object["properties"]["source_id"],
                    why.unwrap_or("it does not say why")
                );
                return Err(Failure::failed(message).into());
            }
        }
        match said.as_array().map(Vec::len) {
            Some(count) if count == points.len() => Ok(()),
            _ => Err(Failure::failed("Weaviate does not answer for every object").into()),
        }
    }

    async fn remove(&self, ids: &[Uuid]) -> Result<()> {
        for id in ids {
            let path = format!("/v1/objects/{}/{id}", self.class);
            let answer = self.service.delete(&path).await?;
            // 404: our first attempt removed it, and its answer was lost.
            if answer.status != 404 {
                answer.success().context("remove an object")?;
            }
        }
        Ok(())
    }

    async fn count(&self) -> Result<u64> {
        let class = &self.class;
        let query = format!("{{ Aggregate {{ {class} {{ meta {{ count }} }} }} }}");
        let said = self.ask(&query).await.context("count objects")?;
        let count = &said["Aggregate"][class][0]["meta"]["count"];
        let whole = count.as_u64().or_else(|| count.as_f64().map(|count| count as u64));
        whole.context("Weaviate tells no count")
    }

    async fn read(&self, id: Uuid) -> Result<Option<Point>> {
        let path = format!("/v1/objects/{}/{id}?include=vector", self.class);
        let answer = self.service.get(&path).await?;
        if answer.status == 404 {
            return Ok(None);
        }
        let mut object = answer.success().context("read an object back")?;
        let properties = object["properties"].take();
        let embedding = match &object["vector"] {
            Value::Array(vector) if !vector.is_empty() => {
                Some(serde_json::from_value(object["vector"].take())?)
            }
            _ => None,
        };
        let payload = payload(properties).context("read a payload back")?;
        Ok(Some(Point { payload, embedding }))
    }
}

/// What a class is made of.
fn class(name: &str) -> Value {
    let property = |(name, kind, words, is_filtered): &(&str, &str, Option<&str>, bool)| {
        let mut property = json!({"name": name, "dataType": [kind],
            "indexFilterable": is_filtered});
        if let Some(words) = words {
            property["tokenization"] = json!(words);
            property["indexSearchable"] = json!(is_filtered);
        }
        property
    };
    json!({
        "class": name,
        "vectorizer": "none",
        "vectorIndexType": "hnsw",
        "vectorIndexConfig": {"distance": DISTANCE},
        "properties": PROPERTIES.iter().map(property).collect::<Vec<_>>(),
    })
}

/// A payload out of an object's properties, where nothing and nothing of a list look the same.
fn payload(mut properties: Value) -> Result<Payload> {
    let metadata = properties["metadata"].as_str().context("it has no metadata")?;
    properties["metadata"] = serde_json::from_str(metadata)?;
    for (key, value) in [("author", Value::Null), ("labels", json!([]))] {
        if properties[key].is_null() {
            properties[key] = value;
        }
    }
    Ok(serde_json::from_value(properties)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weaviate(class: &str) -> Result<Weaviate> {
        let url = "http://localhost:1".into();
        let address = Address { url, key: None, roots: None, accepts_plain: false };
        Weaviate::new(&address, class, &Story::silent())
    }

    #[test]
    fn a_class_has_a_name_that_graphql_can_say() {
        for bad in ["", "knowledge", "A-B", "A b", "A{}", "Ä"] {
            assert!(weaviate(bad).is_err(), "{bad}");
        }
        weaviate("Knowledge_2").unwrap();
    }

    #[test]
    fn a_class_of_another_shape_is_refused_with_both() {
        let there = weaviate("A").unwrap();
        there.check(&class("A")).unwrap();
        for (change, value, wanted) in [
            ("vectorizer", json!("text2vec-openai"), "vectorizer text2vec-openai"),
            ("vectorIndexConfig", json!({"distance": "dot"}), "distance dot"),
            ("vectorConfig", json!({"title": {}}), "named vectors"),
        ] {
            let mut other = class("A");
            other[change] = value;
            let error = there.check(&other).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
