//! Weaviate's side of the conversation.

use std::ops::Bound;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Answered, Asked, Kept, State, answered, vector};

fn refused(status: u16, message: &str) -> Answered {
    answered(status, json!({"error": [{"message": message}]}))
}

pub(super) fn answer(state: &mut State, asked: &Asked) -> Answered {
    let parts: Vec<&str> = asked.path.trim_start_matches("/v1/").split('/').collect();
    match (asked.method.as_str(), parts.as_slice()) {
        ("POST", ["schema"]) => make(state, &asked.body),
        ("GET", ["schema", class]) => match state.collections.get(*class) {
            Some(kept) => answered(200, kept.shape.clone()),
            None => answered(404, Value::Null),
        },
        ("POST", ["batch", "objects"]) => batch(state, &asked.body),
        ("GET", ["objects"]) => {
            let class = parameter(&asked.query, "class");
            let limit = parameter(&asked.query, "limit").parse().unwrap();
            let kept = &state.collections[class];
            let all = kept.points.keys().take(limit).map(|id| object(class, kept, *id));
            answered(200, json!({"objects": all.collect::<Vec<_>>()}))
        }
        ("GET", ["objects", class, id]) => {
            let (kept, id) = (&state.collections[*class], id.parse().unwrap());
            match kept.points.contains_key(&id) {
                true => answered(200, object(class, kept, id)),
                false => answered(404, Value::Null),
            }
        }
        ("DELETE", ["objects", class, id]) => {
            let kept = state.collections.get_mut(*class).unwrap();
            let removed = kept.points.remove(&id.parse::<Uuid>().unwrap());
            answered(if removed.is_some() { 204 } else { 404 }, Value::Null)
        }
        ("POST", ["graphql"]) => graphql(state, asked.body["query"].as_str().unwrap()),
        _ => answered(404, Value::Null),
    }
}

fn parameter<'query>(query: &'query str, name: &str) -> &'query str {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next().unwrap()
}

fn make(state: &mut State, class: &Value) -> Answered {
    let name = class["class"].as_str().unwrap();
    if state.collections.contains_key(name) {
        return refused(422, &format!("class name {name} already exists"));
    }
    let kept = Kept { shape: class.clone(), ..Kept::default() };
    state.collections.insert(name.to_string(), kept);
    answered(200, class.clone())
}

fn object(class: &str, kept: &Kept, id: Uuid) -> Value {
    let (properties, vector) = &kept.points[&id];
    let mut object = json!({"class": class, "id": id, "properties": properties,
        "creationTimeUnix": 1, "lastUpdateTimeUnix": 1});
    if let Some(vector) = vector {
        object["vector"] = json!(vector);
    }
    object
}

fn batch(state: &mut State, body: &Value) -> Answered {
    let mut said = Vec::new();
    for sent in body["objects"].as_array().unwrap() {
        let mut answer = sent.clone();
        answer["result"] = match insert(state, sent) {
            Ok(()) => json!({"status": "SUCCESS"}),
            Err(message) => {
                json!({"status": "FAILED", "errors": {"error": [{"message": message}]}})
            }
        };
        said.push(answer);
    }
    answered(200, json!(said))
}

fn insert(state: &mut State, sent: &Value) -> Result<(), String> {
    let class = sent["class"].as_str().unwrap();
    let kept = state.collections.get_mut(class).ok_or("class not found")?;
    let id: Uuid = sent["id"].as_str().and_then(|id| id.parse().ok()).ok_or("invalid UUID")?;
    let embedding = vector(&sent["vector"]);
    let length =
        |points: &Kept| points.points.values().find_map(|(_, it)| Some(it.as_ref()?.len()));
    if let (Some(new), Some(known)) = (&embedding, length(kept))
        && new.len() != known
    {
        return Err(format!(
            "new node has a vector with length {}. Existing nodes have vectors \
            with length {known}",
            new.len()
        ));
    }
    let known = kept.shape["properties"].as_array().unwrap().clone();
    let mut properties = Map::new();
    for (name, value) in sent["properties"].as_object().unwrap() {
        let property = known.iter().find(|known| known["name"] == json!(name));
        let kind =
            property.ok_or(format!("no such prop with name '{name}'"))?["dataType"][0].as_str();
        let fits = match kind.unwrap() {
            "text" | "date" => value.is_string(),
            "text[]" => value.is_array(),
            "int" => value.is_i64(),
            "boolean" => value.is_boolean(),
            _ => false,
        };
        if !fits {
            return Err(format!("invalid {} property '{name}'", kind.unwrap()));
        }
        properties.insert(name.clone(), value.clone());
    }
    kept.points.insert(id, (Value::Object(properties), embedding));
    Ok(())
}

/// Two queries: a page of objects with some of their properties, and their count.
fn graphql(state: &State, query: &str) -> Answered {
    let words: Vec<&str> = query
        .split(|letter: char| letter.is_whitespace() || "{}(),:".contains(letter))
        .filter(|word| !word.is_empty())
        .collect();
    let Some(kept) = state.collections.get(words[1]) else {
        let message = format!("Cannot query field \"{}\"", words[1]);
        return answered(200, json!({"data": null, "errors": [{"message": message}]}));
    };
    let class = words[1];
    if words[0] == "Aggregate" {
        let meta = json!({"meta": {"count": kept.points.len()}});
        return answered(200, json!({"data": {"Aggregate": {class: [meta]}}}));
    }
    let ["Get", _, "limit", limit, "after", after, fields @ .., "_additional", "id"] =
        words.as_slice()
    else {
        return answered(422, json!({"error": [{"message": "not understood"}]}));
    };
    let after: Option<Uuid> = after.trim_matches('"').parse().ok();
    let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
    let page = kept.points.range((begin, Bound::Unbounded)).take(limit.parse().unwrap());
    let page = page.map(|(id, (properties, _))| {
        let mut object: Map<String, Value> =
            fields.iter().map(|field| (field.to_string(), properties[*field].clone())).collect();
        object.insert("_additional".into(), json!({"id": id}));
        Value::Object(object)
    });
    answered(200, json!({"data": {"Get": {class: page.collect::<Vec<_>>()}}}))
}
