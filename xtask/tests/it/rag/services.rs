//! Services that a store is exported to, in this process: an HTTP server that holds to the public
//! APIs of Qdrant and Weaviate as far as an export uses them, and that can be made to misbehave.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};
use uuid::Uuid;
use xtask::failure::tolerate;

mod qdrant;
mod weaviate;

/// One request, as a service sees it.
pub struct Asked {
    method: String,
    path: String,
    query: String,
    key: Option<String>,
    body: Value,
}

/// What a service answers.
pub struct Answered {
    status: u16,
    header: String,
    body: Value,
}

fn answered(status: u16, body: Value) -> Answered {
    Answered { status, header: String::new(), body }
}

/// How a service misbehaves.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The next request is answered so, with this header, and not obeyed.
    Answer(u16, &'static str),
    /// The connection ends after the next request to change something was obeyed.
    LoseAnswer,
    /// So many more writes are obeyed; the last of them is never answered.
    StallAfter(usize),
    /// The next write is answered well, and one point of it is not kept.
    LosePoint,
    /// The next write changes a vector.
    ChangeVector,
}

/// A collection: its shape as its service shows it, and its points with payload and vector.
#[derive(Debug, Default, Clone)]
pub struct Kept {
    /// What the service says about it.
    pub shape: Value,
    /// By id, in its order.
    pub points: BTreeMap<Uuid, (Value, Option<Vec<f32>>)>,
}

/// What a service holds and did.
#[derive(Default)]
pub struct State {
    /// Its collections, by name.
    pub collections: HashMap<String, Kept>,
    /// What it will do wrong.
    pub faults: VecDeque<Fault>,
    key: Option<&'static str>,
    is_stalled: bool,
}

/// A running service. It ends with the process.
pub struct Service {
    /// Its address.
    pub url: String,
    state: Arc<Mutex<State>>,
}

impl Service {
    /// Starts one; with a key it knows nobody without.
    pub fn start(key: Option<&'static str>) -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State { key, ..State::default() }));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(stream), state) = (stream, shared.clone()) else { return };
                std::thread::spawn(move || serve(stream, &state));
            }
        });
        Service { url, state }
    }

    /// Its state.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Makes it misbehave.
    pub fn fault(&self, fault: Fault) {
        self.state().faults.push_back(fault);
    }

    /// Whether it has stopped answering.
    pub fn is_stalled(&self) -> bool {
        self.state().is_stalled
    }
}

/// Answers the requests of one connection.
fn serve(stream: TcpStream, state: &Mutex<State>) {
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    while let Some(asked) = read(&mut reader) {
        let Some(Answered { status, header, body }) = answer(asked, state) else { return };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let length = body.len();
        let text = format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n{header}\r\n{body}");
        tolerate(writer.write_all(text.as_bytes()), "whoever asked may be dead: a test kills it");
    }
}

/// The next request of a connection; none at its end.
fn read(reader: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    let mut next = || {
        line.clear();
        match reader.read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line.trim_end().to_string()),
        }
    };
    let first = next()?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_string(), words.next()?.to_string());
    let (mut length, mut key) = (0, None);
    loop {
        let header = next()?;
        let Some((name, value)) = header.split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap(),
            "api-key" | "authorization" => key = Some(value.trim().to_string()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    Some(Asked {
        method,
        path: path.to_string(),
        query: query.to_string(),
        key,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    })
}

/// The answer; none where the connection ends without one.
fn answer(mut asked: Asked, shared: &Mutex<State>) -> Option<Answered> {
    let mut state = shared.lock().unwrap();
    if let Some(Fault::Answer(status, header)) = state.faults.front().cloned() {
        state.faults.pop_front();
        return Some(Answered { status, header: header.to_string(), body: json!("busy") });
    }
    let is_weaviate = asked.path.starts_with("/v1/");
    let wanted = state.key.map(|key| match is_weaviate {
        true => format!("Bearer {key}"),
        false => key.to_string(),
    });
    if wanted.is_some() && asked.key != wanted {
        return Some(answered(401, json!({"code": 401, "message": "who are you"})));
    }
    let fault = misbehave(&mut state, &mut asked);
    let answered = match is_weaviate {
        true => weaviate::answer(&mut state, &asked),
        false => qdrant::answer(&mut state, &asked),
    };
    if fault == Some(Fault::LosePoint) {
        let mut all = state.collections.values_mut();
        let kept = all.find(|kept| !kept.points.is_empty());
        kept.unwrap().points.pop_last();
    }
    match fault {
        Some(Fault::LoseAnswer) => None,
        Some(Fault::StallAfter(_)) => {
            state.is_stalled = true;
            drop(state);
            // Whoever asked waits until it is killed, and this thread with the process.
            loop {
                std::thread::park();
            }
        }
        _ => Some(answered),
    }
}

/// Applies the fault that is due to what was asked.
fn misbehave(state: &mut State, asked: &mut Asked) -> Option<Fault> {
    let fault = state.faults.front()?.clone();
    let place = if asked.path.starts_with("/v1/") { "objects" } else { "points" };
    let is_write = ["PUT", "POST"].contains(&asked.method.as_str());
    let is_graphql = asked.path.ends_with("graphql");
    let points = asked.body.get_mut(place).and_then(Value::as_array_mut);
    let points = points.filter(|points| is_write && points.iter().all(Value::is_object));
    match (&fault, points) {
        (Fault::LoseAnswer, _) if is_write && !is_graphql => {}
        (Fault::StallAfter(count), Some(_)) if *count > 1 => {
            state.faults[0] = Fault::StallAfter(count - 1);
            return None;
        }
        (Fault::StallAfter(_) | Fault::LosePoint, Some(_)) => {}
        (Fault::ChangeVector, Some(points)) => {
            let with = points.iter_mut().find(|point| point["vector"].is_array());
            with.unwrap()["vector"][700] = json!(0.9);
        }
        _ => return None,
    }
    state.faults.pop_front();
    Some(fault)
}

/// A vector out of a request.
fn vector(value: &Value) -> Option<Vec<f32>> {
    serde_json::from_value(value.clone()).ok()
}
