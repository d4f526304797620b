//! Qdrant, over its public HTTP API.

use anyhow::{Context, Result};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cutover::event::Story;
use crate::failure::Failure;
use crate::rag::export::collection::{Collection, FINGERPRINT, PAGE, Survey};
use crate::rag::export::point::{Name, Payload, Point};
use crate::rag::http::{Address, Answer, Method, Service};

/// The header of the key.
const KEY_HEADER: (&str, &str) = ("api-key", "");
/// Qdrant's word for the distance of `vector_cosine_ops`.
const DISTANCE: &str = "Cosine";
/// What `rag_search` filters by, and the kind of index that it needs there.
const FILTERS: [(&str, &str); 5] = [
    ("repo", "keyword"),
    ("source_type", "keyword"),
    ("labels", "keyword"),
    ("author", "keyword"),
    ("source_updated_at", "datetime"),
];

/// One collection of one Qdrant.
pub(super) struct Qdrant {
    service: Service,
    name: String,
    path: String,
}

/// A point as Qdrant takes it.
#[derive(Serialize)]
struct Sent<'point> {
    id: Uuid,
    vector: Embedding<'point>,
    payload: SentPayload<'point>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Embedding<'point> {
    One(&'point [f32]),
    /// A point without a vector: a map of vectors, and nothing in it.
    None {},
}

#[derive(Serialize)]
struct SentPayload<'point> {
    #[serde(flatten)]
    payload: &'point Payload,
    fingerprint: String,
}

impl Qdrant {
    /// A collection at an address; nothing is sent yet.
    pub(super) fn new(address: &Address, name: &str, story: &Story) -> Result<Qdrant> {
        if name.is_empty() || name.len() > 255 || name.contains(['/', '\0']) {
            return Err(Failure::usage("a collection of Qdrant has 1 to 255 characters, and no /")
                .hint("--collection knowledge")
                .into());
        }
        let path = format!("/collections/{}", utf8_percent_encode(name, NON_ALPHANUMERIC));
        Ok(Qdrant {
            service: Service::new(address, KEY_HEADER, story)?,
            name: name.to_string(),
            path,
        })
    }

    async fn post(&self, what: &str, body: &Value) -> Result<Value> {
        let path = format!("{}/points{what}", self.path);
        result(self.service.send(Method::POST, &path, body).await?)
    }

    /// Holds what is there against what the store needs.
    fn check(&self, info: &Value, dimensions: usize) -> Result<()> {
        let vectors = info.pointer("/config/params/vectors").unwrap_or(&Value::Null);
        let (size, distance) = (vectors["size"].as_u64(), vectors["distance"].as_str());
        if size == u64::try_from(dimensions).ok() && distance == Some(DISTANCE) {
            return Ok(());
        }
        let there = match (size, distance) {
            (Some(size), Some(distance)) => format!("{size} dimensions and distance {distance}"),
            _ => "named vectors, or none".to_string(),
        };
        Err(Failure::refused(format!(
            "the collection {} has {there}; the store has {dimensions} dimensions and distance \
             {DISTANCE}",
            self.name
        ))
        .hint("name another collection with --collection, or remove this one")
        .into())
    }
}

impl Collection for Qdrant {
    fn place(&self) -> String {
        format!("{}{}", self.service.url(), self.path)
    }

    async fn prepare(&self, dimensions: usize) -> Result<bool> {
        let known = self.service.get(&self.path).await?;
        let is_new = known.status == 404;
        if is_new {
            let wanted = json!({"vectors": {"size": dimensions, "distance": DISTANCE}});
            let made = self.service.send(Method::PUT, &self.path, &wanted).await?;
            // 409: it was made meanwhile, or our first attempt did it and its answer was lost.
            if made.status != 409 {
                result(made).context("make the collection")?;
            }
        }
        let info = match is_new {
            true => self.service.get(&self.path).await?,
            false => known,
        };
        self.check(&result(info).context("look at the collection")?, dimensions)?;
        for (field, kind) in FILTERS {
            let index = json!({"field_name": field, "field_schema": kind});
            let path = format!("{}/index?wait=true", self.path);
            result(self.service.send(Method::PUT, &path, &index).await?)
                .with_context(|| format!("index the payload's {field}"))?;
        }
        Ok(is_new)
    }

    async fn survey(&self) -> Result<Survey> {
        let mut survey = Survey::default();
        let names = ["repo", "source_type", "source_id", "chunk_index", FINGERPRINT];
        let mut from = Value::Null;
        loop {
            let page = json!({"limit": PAGE, "offset": from, "with_vector": false,
                "with_payload": names});
            let page = self.post("/scroll", &page).await.context("list the points")?;
            for point in page["points"].as_array().into_iter().flatten() {
                // An id may be a number too; such a point is nobody's of ours.
                let id = point["id"].as_str().and_then(|id| id.parse().ok()).unwrap_or_default();
                let payload = &point["payload"];
                let name = serde_json::from_value::<Name>(payload.clone());
                survey.add(id, name.ok().map(|name| name.id()), payload[FINGERPRINT].as_str());
            }
            from = page["next_page_offset"].clone();
            if from.is_null() {
                return Ok(survey);
            }
        }
    }

    async fn put(&self, points: &[Point]) -> Result<()> {
        let sent: Vec<Sent> = points.iter().map(sent).collect();
        let path = format!("{}/points?wait=true", self.path);
        let answer = self.service.send(Method::PUT, &path, &json_points(&sent)).await?;
        result(answer).context("write points").map(drop)
    }

    async fn remove(&self, ids: &[Uuid]) -> Result<()> {
        let body = json!({"points": ids});
        self.post("/delete?wait=true", &body).await.context("remove points").map(drop)
    }

    async fn count(&self) -> Result<u64> {
        let count = self.post("/count", &json!({"exact": true})).await.context("count points")?;
        count["count"].as_u64().context("Qdrant tells no count")
    }

    async fn read(&self, id: Uuid) -> Result<Option<Point>> {
        let body = json!({"ids": [id], "with_payload": true, "with_vector": true});
        let found = self.post("", &body).await.context("read points back")?;
        let Some(point) = found.get(0) else { return Ok(None) };
        let embedding = match &point["vector"] {
            Value::Array(_) => Some(serde_json::from_value(point["vector"].clone())?),
            _ => None,
        };
        let payload = serde_json::from_value(point["payload"].clone());
        Ok(Some(Point { payload: payload.context("read a payload back")?, embedding }))
    }
}

fn sent(point: &Point) -> Sent<'_> {
    Sent {
        id: point.payload.name.id(),
        vector: point.embedding.as_deref().map_or(Embedding::None {}, Embedding::One),
        payload: SentPayload {
            payload: &point.payload,
            fingerprint: format!("{:032x}", point.fingerprint()),
        },
    }
}

fn json_points<'all>(points: &'all [Sent<'all>]) -> impl Serialize + use<'all> {
    std::collections::BTreeMap::from([("points", points)])
}

/// What stands in a successful answer's `result`.
fn result(answer: Answer) -> Result<Value> {
    Ok(answer.success()?["result"].take())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collection_of_another_shape_is_refused_with_both() {
        let address = Address {
            url: "http://localhost:1".into(),
            key: None,
            roots: None,
            accepts_plain: false,
        };
        let qdrant = Qdrant::new(&address, "a b", &Story::silent()).unwrap();
        assert_eq!(qdrant.path, "/collections/a%20b");
        let info = |vectors: Value| json!({"config": {"params": {"vectors": vectors}}});
        qdrant.check(&info(json!({"size": 3, "distance": "Cosine"})), 3).unwrap();
        for (vectors, wanted) in [
            (json!({"size": 4, "distance": "Cosine"}), "has 4 dimensions"),
            (json!({"size": 3, "distance": "Dot"}), "distance Dot"),
            (json!({"text": {"size": 3, "distance": "Cosine"}}), "named vectors"),
        ] {
            let error = qdrant.check(&info(vectors), 3).unwrap_err().to_string();
            assert!(error.contains(wanted) && error.contains("store has 3"), "{error}");
        }
        Qdrant::new(&address, "a/b", &Story::silent()).err().unwrap();
    }
}
