//! Merge patches (RFC 7386): what is to be sent so that an object becomes another one, and nothing
//! more, so that members that others own stay as they are.

use serde_json::{Map, Value};

/// The patch that makes `wanted` of `now`; nothing where they are equal. A member of `wanted` that
/// is null cannot be expressed by such a patch: Kubernetes has none.
pub fn difference(now: &Value, wanted: &Value) -> Option<Value> {
    if now == wanted {
        return None;
    }
    let (Value::Object(before), Value::Object(after)) = (now, wanted) else {
        return Some(wanted.clone());
    };
    let mut patch = Map::new();
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    for (name, value) in after {
        let changed = match before.get(name) {
            Some(former) => difference(former, value),
            None => Some(value.clone()),
        };
        patch.extend(changed.map(|changed| (name.clone(), changed)));
    }
    Some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// What a server does with a patch.
    fn apply(target: &mut Value, patch: &Value) {
        let Value::Object(members) = patch else {
            *target = patch.clone();
            return;
        };
        if !target.is_object() {
            *target = json!({});
        }
        for (name, value) in members {
            if value.is_null() {
                target.as_object_mut().unwrap().remove(name);
            } else {
                apply(&mut target[name], value);
            }
        }
    }

    fn object() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-c]{0,3}".prop_map(Value::from),
            proptest::collection::vec(0..3, 0..3).prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            let members = proptest::collection::btree_map("[a-d]", inner, 0..4);
            members.prop_map(|members| members.into_iter().collect::<Map<_, _>>().into())
        })
    }

    #[test]
    fn what_was_taken_away_comes_back_as_it_was() {
        let paused = json!({"spec": {"syncPolicy": {"retry": {"limit": 5}}}});
        let automated = json!({"prune": true, "selfHeal": true, "allowEmpty": false});
        let former =
            json!({"spec": {"syncPolicy": {"automated": automated, "retry": {"limit": 5}}}});
        let patch = difference(&former, &paused).unwrap();
        assert_eq!(patch, json!({"spec": {"syncPolicy": {"automated": null}}}));
        let back = difference(&paused, &former).unwrap();
        assert_eq!(back, json!({"spec": {"syncPolicy": {"automated": automated}}}));
    }

    proptest! {
        #[test]
        fn a_patch_leads_where_it_should(now in object(), wanted in object()) {
            let mut changed = now.clone();
            if let Some(patch) = difference(&now, &wanted) {
                apply(&mut changed, &patch);
            }
            prop_assert_eq!(changed, wanted);
        }
    }
}
