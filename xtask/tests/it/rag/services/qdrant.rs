//! Qdrant's side of the conversation.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Answered, Asked, Kept, State, answered, vector};

fn done(result: Value) -> Answered {
    answered(200, json!({"result": result, "status": "ok", "time": 0.001}))
}

fn refused(status: u16, error: &str) -> Answered {
    answered(status, json!({"status": {"error": error}, "time": 0.001}))
}

fn completed() -> Answered {
    done(json!({"operation_id": 1, "status": "completed"}))
}

pub(super) fn answer(state: &mut State, asked: &Asked) -> Answered {
    let parts: Vec<&str> = asked.path.trim_start_matches('/').split('/').collect();
    let ["collections", name, rest @ ..] = parts.as_slice() else {
        return answered(404, Value::Null);
    };
    if let ("PUT", []) = (asked.method.as_str(), rest) {
        return make(state, name, &asked.body);
    }
    let Some(kept) = state.collections.get_mut(*name) else {
        return refused(404, &format!("Not found: Collection `{name}` doesn't exist!"));
    };
    let body = &asked.body;
    match (asked.method.as_str(), rest) {
        ("GET", []) => done(json!({"status": "green", "points_count": kept.points.len(),
            "config": {"params": {"vectors": kept.shape}}})),
        ("PUT", ["index"]) if body["field_name"].is_string() => completed(),
        ("PUT", ["points"]) if asked.query == "wait=true" => upsert(kept, body),
        ("POST", ["points"]) => {
            let found = ids(&body["ids"]).into_iter().filter(|id| kept.points.contains_key(id));
            done(found.map(|id| record(kept, id, &body["with_payload"], true)).collect())
        }
        ("POST", ["points", "scroll"]) => scroll(kept, body),
        ("POST", ["points", "count"]) => done(json!({"count": kept.points.len()})),
        ("POST", ["points", "delete"]) => {
            for id in ids(&body["points"]) {
                kept.points.remove(&id);
            }
            completed()
        }
        _ => answered(404, Value::Null),
    }
}

fn make(state: &mut State, name: &str, body: &Value) -> Answered {
    if state.collections.contains_key(name) {
        return refused(409, &format!("Wrong input: Collection `{name}` already exists!"));
    }
    if body["vectors"]["size"].as_u64().is_none() || !body["vectors"]["distance"].is_string() {
        return refused(400, "Format error in JSON body");
    }
    let kept = Kept { shape: body["vectors"].clone(), ..Kept::default() };
    state.collections.insert(name.to_string(), kept);
    done(json!(true))
}

fn ids(value: &Value) -> Vec<Uuid> {
    serde_json::from_value(value.clone()).unwrap()
}

fn upsert(kept: &mut Kept, body: &Value) -> Answered {
    let size = kept.shape["size"].as_u64().unwrap();
    for point in body["points"].as_array().unwrap() {
        let Some(id) = point["id"].as_str().and_then(|id| id.parse::<Uuid>().ok()) else {
            return refused(400, "Format error in JSON body: not a valid point ID");
        };
        let embedding = match &point["vector"] {
            Value::Object(none) if none.is_empty() => None,
            other => vector(other),
        };
        if embedding.is_none() && !point["vector"].is_object() {
            return refused(400, "Format error in JSON body: missing field `vector`");
        }
        let wrong = embedding.as_ref().filter(|vector| vector.len() as u64 != size);
        if let Some(wrong) = wrong {
            let got = wrong.len();
            let message = format!("Vector dimension error: expected dim: {size}, got {got}");
            return refused(400, &format!("Wrong input: {message}"));
        }
        // Cosine is a dot product of vectors of length 1, so that is what is kept.
        let embedding = embedding.map(|vector| {
            let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
            vector.iter().map(|number| number / length).collect()
        });
        kept.points.insert(id, (point["payload"].clone(), embedding));
    }
    completed()
}

fn record(kept: &Kept, id: Uuid, wanted: &Value, with_vector: bool) -> Value {
    let (payload, vector) = &kept.points[&id];
    let mut payload = payload.clone();
    if let (Some(wanted), Some(payload)) = (wanted.as_array(), payload.as_object_mut()) {
        payload.retain(|key, _| wanted.contains(&json!(key)));
    }
    let vector = vector.as_ref().map_or(json!({}), |vector| json!(vector));
    match with_vector {
        true => json!({"id": id, "payload": payload, "vector": vector}),
        false => json!({"id": id, "payload": payload}),
    }
}

fn scroll(kept: &Kept, body: &Value) -> Answered {
    let from: Option<Uuid> = serde_json::from_value(body["offset"].clone()).unwrap();
    let limit = usize::try_from(body["limit"].as_u64().unwrap_or(10)).unwrap();
    let mut ids = kept.points.range(from.unwrap_or_default()..).map(|(id, _)| *id);
    let page: Vec<Uuid> = ids.by_ref().take(limit).collect();
    let records = page.iter().map(|id| record(kept, *id, &body["with_payload"], false));
    done(json!({"points": records.collect::<Vec<_>>(), "next_page_offset": ids.next()}))
}
