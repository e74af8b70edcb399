//! Traces: a span for each run of a controller, and below it what it asked of providers and of the API server. Without a
//! collector only the runs are there, for the log.

use std::{
    fmt::Display,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use opentelemetry::{
    TraceId,
    trace::{Status, TraceContextExt as _, TracerProvider as _},
};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{SdkTracerProvider, Tracer},
};
use snafu::{ResultExt as _, Snafu};
use tokio::runtime::Handle;
use tracing::{Span, field::Empty, info_span, warn};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt as _};
use tracing_subscriber::registry::LookupSpan;

/// The target of spans that are for traces alone: in the log a line belongs to the run.
pub const CALLS: &str = "innkeeper::call";

/// How long a collector may take to accept some spans.
const SENDING: Duration = Duration::from_secs(10);
/// How long the end of the process waits for the last spans to be accepted.
const LAST: Duration = Duration::from_secs(3);

/// Why no traces can be sent.
#[derive(Debug, Snafu)]
pub enum TraceError {
    /// There is no HTTP client.
    #[snafu(display("cannot set up HTTP for traces"))]
    SetUpHttp {
        /// Why.
        source: reqwest::Error,
    },
    /// The exporter refuses its settings.
    #[snafu(display("cannot send traces to {endpoint}"))]
    SetUpExport {
        /// Where to.
        endpoint: String,
        /// Why.
        source: ExporterBuildError,
    },
}

/// Where spans go. They wait in a queue of bounded size: a collector that does not answer holds nothing up.
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Spans are sent to the collector at `endpoint`, a URL to which OTLP's path for traces is added. OTEL_* variables
    /// for headers, sampling and resource attributes count.
    pub fn to(endpoint: &str, handle: Handle) -> Result<Self, TraceError> {
        let client = reqwest::Client::builder().timeout(SENDING).build().context(SetUpHttpSnafu)?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Http { client, handle, failing: AtomicBool::new(false) })
            .with_timeout(SENDING)
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .build()
            .context(SetUpExportSnafu { endpoint })?;
        let resource = Resource::builder().with_service_name("innkeeper").with_attributes(origin());
        Ok(Self(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build()))
    }

    /// What hands spans over.
    #[must_use]
    pub fn layer<S>(&self) -> OpenTelemetryLayer<S, Tracer>
    where
        S: tracing::Subscriber + for<'span> LookupSpan<'span>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("innkeeper"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
    }

    /// Sends what is left. Needs the threads of the runtime that it was made with.
    pub fn end(&self) {
        // That it could not was said when it was tried.
        let _ = self.0.shutdown_with_timeout(LAST);
    }
}

fn origin() -> Vec<opentelemetry::KeyValue> {
    let mut origin = vec![opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))];
    for (attribute, variable) in [("k8s.pod.name", "POD_NAME"), ("k8s.namespace.name", "POD_NAMESPACE")] {
        origin.extend(std::env::var(variable).ok().map(|value| opentelemetry::KeyValue::new(attribute, value)));
    }
    origin
}

/// The exporter works on a thread of its own; sockets need the runtime's.
#[derive(Debug)]
struct Http {
    client: reqwest::Client,
    handle: Handle,
    failing: AtomicBool,
}

#[async_trait]
impl HttpClient for Http {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let request = self.client.post(parts.uri.to_string()).headers(parts.headers).body(body);
        let sending = self.handle.spawn(async move {
            let answer = request.send().await?;
            let status = answer.status();
            Ok::<_, reqwest::Error>((status, answer.bytes().await?))
        });
        let answer = sending.await.map_err(HttpError::from).and_then(|answer| answer.map_err(HttpError::from));
        let trouble = match &answer {
            Ok((status, _)) if status.is_success() => None,
            Ok((status, _)) => Some(format!("it answers {status}")),
            Err(error) => Some(super::chain(&**error)),
        };
        // Said when it begins: the operator's work does not depend on it.
        let failed_before = self.failing.swap(trouble.is_some(), Ordering::Relaxed);
        if let Some(trouble) = trouble.filter(|_| !failed_before) {
            warn!(error = trouble, "the collector does not take traces; they are dropped until it does");
        }
        let (status, body) = answer?;
        let mut response = Response::new(body);
        *response.status_mut() = status;
        Ok(response)
    }
}

/// The span of one run of a controller. Its number is that of the trace where traces are sent, and in the log.
pub fn run(controller: &'static str, object: &dyn Display) -> Span {
    let span = info_span!("reconcile", controller, object = %object, trace_id = Empty);
    let sent = span.context().span().span_context().trace_id();
    let number = if sent == TraceId::INVALID { format!("{:032x}", rand::random::<u128>()) } else { sent.to_string() };
    span.record("trace_id", number);
    span
}

/// The span of a call to a provider.
#[must_use]
pub fn provider_call(operation: &'static str, pool: &str) -> Span {
    info_span!(target: CALLS, "provider", otel.name = operation, otel.kind = "client", pool, outcome = Empty)
}

/// The span of a request to the API server. There is none outside of runs, where watches and the Lease are.
#[must_use]
pub fn api_request(verb: &'static str, resource: &str) -> Span {
    if Span::current().is_none() {
        return Span::none();
    }
    info_span!(target: CALLS, "api", otel.name = format!("{verb} {resource}"), otel.kind = "client", outcome = Empty)
}

/// What a call led to; `ok`, or what went wrong.
pub fn ends(span: &Span, outcome: &str) {
    span.record("outcome", outcome);
    if outcome != "ok" {
        failed(span, outcome.to_owned());
    }
}

/// Something did not succeed.
pub fn failed(span: &Span, why: String) {
    span.set_status(Status::error(why));
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Mutex};

    use tracing::info;
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    struct Lines(&'static Mutex<Vec<u8>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            Self(self.0)
        }
    }

    #[test]
    fn without_a_collector_log_lines_have_the_number_of_their_run() {
        static WRITTEN: Mutex<Vec<u8>> = Mutex::new(Vec::new());
        let lines = tracing_subscriber::fmt().json().with_span_list(false).with_writer(Lines(&WRITTEN)).finish();
        tracing::subscriber::with_default(lines, || {
            run("guest", &"default/web-0").in_scope(|| info!("one"));
            run("guest", &"default/web-0").in_scope(|| info!("two"));
        });
        let written = String::from_utf8(WRITTEN.lock().unwrap().clone()).unwrap();
        let lines: Vec<serde_json::Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let numbers: Vec<_> = lines.iter().map(|line| line["span"]["trace_id"].as_str().unwrap()).collect();
        assert!(numbers.iter().all(|number| number.len() == 32) && numbers[0] != numbers[1], "{numbers:?}");
        assert_eq!(lines[0]["span"]["object"], "default/web-0");
    }
}
