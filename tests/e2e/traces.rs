//! Traces as a collector gets them: a run of a controller, and below it what it asked of the provider and the API server.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use prost::Message as _;

use crate::stack::{PASSWORD, SECRET_KEY, Stack};

type Spans = Arc<Mutex<Vec<ExportTraceServiceRequest>>>;

/// A collector: keeps what it is sent.
struct Collector {
    url: String,
    sent: Spans,
    _runtime: tokio::runtime::Runtime,
}

impl Collector {
    fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let sent = Spans::default();
        let app = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&sent));
        let listener = runtime.block_on(tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { url, sent, _runtime: runtime }
    }

    fn spans(&self) -> Vec<Span> {
        let sent = self.sent.lock().unwrap();
        let scopes = sent.iter().flat_map(|request| &request.resource_spans).flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    fn origin(&self) -> BTreeMap<String, String> {
        attributes(&self.sent.lock().unwrap()[0].resource_spans[0].resource.clone().unwrap().attributes)
    }
}

async fn take(State(sent): State<Spans>, body: Bytes) -> StatusCode {
    match ExportTraceServiceRequest::decode(body) {
        Ok(request) => sent.lock().unwrap().push(request),
        Err(_) => return StatusCode::BAD_REQUEST,
    }
    StatusCode::OK
}

fn attributes(list: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.clone()?.value? {
        Value::StringValue(text) => Some((attribute.key.clone(), text)),
        _ => None,
    };
    list.iter().filter_map(text).collect()
}

fn attribute(span: &Span, name: &str) -> String {
    attributes(&span.attributes).remove(name).unwrap_or_default()
}

fn hexadecimal(bytes: &[u8]) -> String {
    format!("{:032x}", u128::from_be_bytes(bytes.try_into().expect("a trace's number has 16 bytes")))
}

#[test]
fn a_collector_gets_each_run_with_its_calls() {
    let (stack, collector) = (Stack::start(), Collector::start());
    let options = ["--leader-elect=false", "--log-format=json", "--otlp-endpoint", &collector.url];
    let (mut operator, _) = stack.replica(&options);
    stack.apply_examples();
    stack.wait_for_guests(6, Duration::from_secs(90));
    // What is still waiting to be sent is sent at the end.
    assert!(operator.terminate(Duration::from_secs(30)).success());

    let spans = collector.spans();
    let run_above = |call: &Span| {
        spans.iter().find(|span| span.span_id == call.parent_span_id && span.trace_id == call.trace_id).cloned()
    };
    let called = |name: &str, pool: &str| {
        let calls = spans.iter().filter(|span| span.name == name && attribute(span, "pool") == pool);
        calls.filter(|span| attribute(span, "outcome") == "ok").cloned().collect::<Vec<_>>()
    };
    for (pool, guests) in [("xen-london", 4), ("ec2-ireland", 2)] {
        let made = called("create", pool);
        assert_eq!(made.len(), guests, "calls that make VMs in {pool}");
        for call in &made {
            let run = run_above(call).expect("a call stands below a run");
            assert_eq!((run.name.as_str(), &*attribute(&run, "controller")), ("reconcile", "guest"));
            assert!(attribute(&run, "object").contains("web-"), "{run:?}");
            assert!(run.parent_span_id.is_empty(), "a run has nothing above it");
            // The log of a run has the number of its trace.
            assert_eq!(attribute(&run, "trace_id"), hexadecimal(&run.trace_id));
            assert!(run.start_time_unix_nano <= call.start_time_unix_nano);
            assert!(call.end_time_unix_nano <= run.end_time_unix_nano);
        }
        assert!(!called("connect", pool).is_empty());
    }
    let written: Vec<_> = spans.iter().filter(|span| span.name == "patch guests/status").collect();
    assert!(!written.is_empty() && written.iter().all(|span| run_above(span).is_some()), "{written:#?}");
    for controller in ["guest", "pool", "workload", "scheduler"] {
        let runs = spans.iter().any(|span| span.name == "reconcile" && attribute(span, "controller") == controller);
        assert!(runs, "no run of {controller}");
    }
    assert!(!spans.iter().any(|span| span.name.starts_with("watch") || span.name.contains("leases")));
    assert_eq!(collector.origin()["service.name"], "innkeeper");
    let all = format!("{spans:?}");
    assert!(!all.contains(PASSWORD) && !all.contains(SECRET_KEY), "a credential is in a trace");

    let log = stack.operator_log();
    let logged = called("create", "xen-london").iter().any(|call| log.contains(&hexadecimal(&call.trace_id)));
    assert!(logged, "no line of the log has the number of its trace");
    assert!(!log.contains("\"span\":{\"name\":\"provider\"") && !log.contains("otel"), "lines belong to runs");
}

#[test]
fn a_collector_that_is_not_there_holds_nothing_up() {
    let stack = Stack::start();
    let nobody = format!("http://{}", crate::stack::free_address());
    let (mut operator, _) = stack.replica(&["--leader-elect=false", "--otlp-endpoint", &nobody]);
    stack.apply_examples();
    stack.wait_for_guests(6, Duration::from_secs(90));
    let told = || stack.operator_log().matches("the collector does not take traces").count();
    stack.until("that is said", Duration::from_mins(1), || (told() > 0).then_some(()));
    assert!(operator.terminate(Duration::from_secs(30)).success());
    assert_eq!(told(), 1, "it is said once");
}
