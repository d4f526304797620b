//! Services and Secrets that lead clients, in the stand-in cluster.

use serde_json::{Value, json};
use xtask::pg::endpoint::Endpoint;
use xtask::route::places::Places;
use xtask::route::secret::{Keys, POINTED_AT, Secret};
use xtask::route::service::Service;
use xtask::route::{Aimed, Route, Routes};

use super::deployment;
use super::stand::{NAMESPACE, Stand};

/// A Service without selector, and the slice that leads it to one server.
pub fn service(stand: &Stand, name: &str, ip: &str, port: u16) {
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"ports": [{"name": "postgres", "port": 5432}]},
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": format!("{name}-outside"), "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [ip], "conditions": {"ready": true}}],
        "ports": [{"name": "postgres", "port": port, "protocol": "TCP"}],
    });
    stand.put("services", &service);
    stand.put("endpointslices.discovery.k8s.io", &slice);
}

fn server(port: u16) -> Endpoint {
    Endpoint::new("127.0.0.1", port, "rbsdb", "postgres", "of-the-tool")
}

fn names(objections: &[xtask::route::Objection]) -> Vec<&'static str> {
    objections.iter().map(|objection| objection.name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_led_by_its_slice_and_keeps_the_names_of_its_ports() {
    let stand = Stand::begin().await;
    service(&stand, "paradedb", "10.0.0.7", 5432);
    let places =
        Places::default().with(&server(1), "10.0.0.7", 5432).with(&server(2), "10.0.0.8", 5433);
    let route =
        Service { cluster: stand.cluster(), name: "paradedb".into(), places, clients: None };
    assert_eq!(names(&route.objections(&server(1)).await), Vec::<&str>::new());
    assert_eq!(names(&route.objections(&server(2)).await), ["route-elsewhere"]);
    stand.fault("patch endpointslices", "conflict", 1);
    route.point(&server(2)).await.unwrap();
    assert!(route.points_at(&server(2)).await.unwrap());
    assert!(!route.points_at(&server(1)).await.unwrap());
    // What the API server would refuse is known before the pause.
    let here = Service {
        places: route.places.clone().with(&server(3), "127.0.0.1", 5432),
        ..route.clone()
    };
    let found = here.objections(&server(2)).await;
    assert_eq!(names(&found), ["route-service"], "{found:?}");
    for wanted in ["cannot lead to 127.0.0.1:5432", "loopback"] {
        assert!(found[0].problem.contains(wanted), "{wanted}: {found:?}");
    }
    let slice = stand.object("endpointslices.discovery.k8s.io", "paradedb-outside");
    assert_eq!(slice["endpoints"][0]["addresses"], json!(["10.0.0.8"]));
    let ports = json!([{"name": "postgres", "port": 5433, "protocol": "TCP"}]);
    assert_eq!(slice["ports"], ports);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_lead_a_service_elsewhere_by_itself_is_refused() {
    let stand = Stand::begin().await;
    service(&stand, "paradedb", "10.0.0.7", 5432);
    let change = |resource: &str, name: &str, pointer: [&str; 2], value: Value| {
        let mut object = stand.object(resource, name);
        object[pointer[0]][pointer[1]] = value;
        stand.put(resource, &object);
    };
    change("services", "paradedb", ["spec", "selector"], json!({"app": "rbs-paradedb"}));
    let tracking = json!({"argocd.argoproj.io/tracking-id": "robson-prod:v1/x"});
    let slice = "endpointslices.discovery.k8s.io";
    change(slice, "paradedb-outside", ["metadata", "annotations"], tracking);
    let places = Places::default().with(&server(1), "10.0.0.7", 5432);
    let route =
        Service { cluster: stand.cluster(), name: "paradedb".into(), places, clients: None };
    let found = route.objections(&server(1)).await;
    assert_eq!(names(&found), ["route-service", "route-managed"], "{found:?}");
    assert!(found[1].problem.contains("robson-prod"), "{found:?}");
    let mut second = stand.object(slice, "paradedb-outside");
    second["metadata"]["name"] = json!("paradedb-mirrored");
    stand.put(slice, &second);
    let error = format!("{:#}", route.point(&server(1)).await.unwrap_err());
    assert!(error.contains("2 EndpointSlices, not one"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_keeps_all_but_the_server_and_shows_nothing() {
    let stand = Stand::begin().await;
    // robson, hunter2, old, 5432, postgres://robson:hunter2@old:5432/rbsdb, and a key of others.
    let data = json!({
        "POSTGRES_USER": "cm9ic29u",
        "POSTGRES_PASSWORD": "aHVudGVyMg==",
        "POSTGRES_HOST": "b2xk",
        "POSTGRES_PORT": "NTQzMg==",
        "DATABASE_URL": "cG9zdGdyZXM6Ly9yb2Jzb246aHVudGVyMkBvbGQ6NTQzMi9yYnNkYg==",
        "RBS_SECRET_KEY": "AP8=",
    });
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": data,
        "metadata": {"name": "rbs-django-secret", "namespace": NAMESPACE}});
    stand.put("secrets", &secret);
    stand.put("deployments.apps", &deployment("backend"));
    let keys = Keys {
        host: Some("POSTGRES_HOST".into()),
        port: Some("POSTGRES_PORT".into()),
        url: Some("DATABASE_URL".into()),
        user: Some("POSTGRES_USER".into()),
        password: Some("POSTGRES_PASSWORD".into()),
        database: None,
    };
    let route = Secret {
        cluster: stand.cluster(),
        name: "rbs-django-secret".into(),
        keys: Box::new(keys),
        places: Places::default().with(&server(1), "old", 5432).with(&server(2), "new", 5433),
        restarts: vec!["backend".into()],
    };
    assert_eq!(names(&route.objections(&server(1)).await), Vec::<&str>::new());
    let routes = Routes::from(Route::Aimed(Aimed::Secret(route.clone())));
    let client = routes.client(&server(1)).await.unwrap().unwrap();
    assert_eq!(client, server(1).with_user("robson", "hunter2"));
    routes.aim(&server(2)).await.unwrap();
    assert!(routes.aims_at(&server(2)).await.unwrap());
    assert!(!routes.points_at(&server(2)).await.unwrap(), "nobody was started anew yet");
    routes.point(&server(2)).await.unwrap();
    assert!(routes.points_at(&server(2)).await.unwrap());
    let now = stand.object("secrets", "rbs-django-secret")["data"].clone();
    let url = "cG9zdGdyZXM6Ly9yb2Jzb246aHVudGVyMkBuZXc6NTQzMy9yYnNkYg==";
    assert_eq!(now["DATABASE_URL"], url);
    assert_eq!(now["POSTGRES_HOST"], "bmV3");
    assert_eq!(
        (&now["POSTGRES_USER"], &now["RBS_SECRET_KEY"]),
        (&json!("cm9ic29u"), &json!("AP8="))
    );
    let template = |object: Value| object["spec"]["template"]["metadata"]["annotations"].clone();
    let pods = template(stand.object("deployments.apps", "backend"));
    assert_eq!(pods[POINTED_AT], "new:5433/rbsdb");
    let generation = |stand: &Stand| {
        stand.object("deployments.apps", "backend")["metadata"]["generation"].clone()
    };
    let before = generation(&stand);
    routes.point(&server(2)).await.unwrap();
    assert_eq!(generation(&stand), before, "nobody is started anew twice");
    routes.point(&server(1)).await.unwrap();
    assert_eq!(stand.object("secrets", "rbs-django-secret")["data"], data);
    stand.fault("patch secrets", "refuse", 1);
    let error = format!("{:?}", routes.aim(&server(2)).await.unwrap_err());
    let shown = format!("{error} {routes:?} {}", stand.calls().join(" "));
    for hidden in ["hunter2", "aHVudGVyMg", url] {
        assert!(!shown.contains(hidden), "{hidden}: {shown}");
    }
}
