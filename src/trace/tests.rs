use expect_test::expect;
use hyper::http::{HeaderName, HeaderValue};

use super::*;
use crate::metrics::Metrics;
use crate::model::Trouble;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const XRAY: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
const PUT: Operation = Operation { service: "Kinesis", method: "PutRecords", messaging: Some("aws_kinesis") };

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

type Ended = mpsc::Receiver<Box<SpanData>>;

fn tracer(share: f64, waiting_max: usize) -> (Tracer, Ended, IntCounter) {
    let (queue, ended) = mpsc::channel(waiting_max);
    let dropped = Metrics::new().spans.with_label_values(&["dropped"]);
    let sampler = Sampler { share, is_parent_based: true };
    (Tracer(Some(Arc::new(Recorder { sampler, queue, dropped: dropped.clone() }))), ended, dropped)
}

fn parent_of(pairs: &[(&'static str, &'static str)]) -> Option<String> {
    parent(&headers(pairs)).map(|context| context.traceparent())
}

#[test]
fn the_w3c_header_wins_and_counts_once() {
    assert_eq!(parent_of(&[]), None);
    assert_eq!(parent_of(&[("traceparent", PARENT), ("x-amzn-trace-id", XRAY)]).as_deref(), Some(PARENT));
    assert_eq!(parent_of(&[("traceparent", PARENT), ("traceparent", PARENT)]), None);
    // One that is none does not make another header win: whoever sent it speaks W3C.
    assert_eq!(parent_of(&[("traceparent", "00-1-2-3"), ("x-amzn-trace-id", XRAY)]), None);
    let of_xray = parent_of(&[("x-amzn-trace-id", XRAY)]);
    assert_eq!(of_xray.as_deref(), Some("00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01"));
    let context = parent(&headers(&[("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")])).unwrap();
    assert_eq!(context.state.as_deref(), Some("a=1,b=2"));
}

#[test]
fn when_off_a_context_is_passed_on_as_it_is_and_nothing_is_made_up() {
    let tracer = Tracer::default();
    assert!(tracer.request(&headers(&[])).context().is_none());
    assert!(tracer.batch("s", "shard-1").context().is_none());
    let traced = tracer.request(&headers(&[("traceparent", PARENT), ("tracestate", "a=1")]));
    let context = traced.context();
    assert_eq!(context.unwrap().traceparent(), PARENT);
    let call = tracer.call(&PUT, "mesh", [context, context].into_iter());
    assert_eq!(call.context().unwrap().state.as_deref(), Some("a=1"));
    // Shared with what belongs to no trace, or to another one, it is nobody's.
    assert!(tracer.call(&PUT, "mesh", [context, None].into_iter()).context().is_none());
    let other = tracer.request(&headers(&[("x-amzn-trace-id", XRAY)]));
    assert!(tracer.call(&PUT, "mesh", [context, other.context()].into_iter()).context().is_none());
}

#[test]
fn a_sampled_request_has_a_span_and_its_call_one_below() {
    let (tracer, mut ended, _) = tracer(0.0, 9);
    let traced = tracer.request(&headers(&[("traceparent", PARENT), ("tracestate", "a=1")]));
    let context = Arc::clone(traced.context().unwrap());
    assert!(context.traceparent().starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
    let mut call = tracer.call(&PUT, "mesh", [Some(&context)].into_iter());
    let passed_on = call.context().unwrap().clone();
    assert_eq!((passed_on.trace_id, passed_on.state.as_deref()), (context.trace_id, Some("a=1")));
    call.answered([Trouble::Throttled, Trouble::Throttled].into_iter());
    drop(call);
    traced.answered("kinesis_api", "PutRecords", "POST", 200);
    drop(traced);
    let (call, request) = (ended.try_recv().unwrap(), ended.try_recv().unwrap());
    assert_eq!((&*call.context, call.parent), (&passed_on, Some((context.span_id, false))));
    assert_eq!((call.kind, call.error.as_deref()), (Kind::Producer, Some("throttled")));
    assert_eq!(
        request.parent.map(|(id, is_remote)| (id.to_string(), is_remote)),
        Some(("00f067aa0ba902b7".into(), true))
    );
    assert_eq!((request.kind, &*request.name, request.error), (Kind::Server, "Kinesis/PutRecords", None));
    assert!(request.start <= call.start && call.end <= request.end);

    // Not sampled by whoever began it, or here: no span, and what came is passed on.
    let traced =
        tracer.request(&headers(&[("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")]));
    assert!(traced.context().unwrap().traceparent().ends_with("-00f067aa0ba902b7-00"));
    drop(tracer.call(&PUT, "mesh", [traced.context()].into_iter()));
    assert!(tracer.request(&headers(&[])).context().is_none());
    drop(traced);
    assert!(ended.try_recv().is_err());
}

#[test]
fn a_call_that_several_requests_share_is_linked_to_them_within_a_bound() {
    let (tracer, mut ended, _) = tracer(1.0, 99);
    let requests: Vec<Traced> = (0..LINKS_MAX + 8).map(|_| tracer.request(&headers(&[]))).collect();
    let contexts: Vec<_> = requests.iter().map(Traced::context).collect();
    let twice = contexts.iter().flat_map(|context| [*context, *context]);
    let mut call = tracer.call(&PUT, "mesh", twice.chain([None]));
    call.answered(std::iter::empty());
    drop(call);
    let call = ended.try_recv().unwrap();
    assert_eq!((call.parent, call.links.len()), (None, LINKS_MAX));
    assert!(call.links.iter().zip(&contexts).all(|(link, context)| Some(link) == *context));
    assert_eq!(call.links_left_out, 8);
    assert!(contexts.iter().flatten().all(|context| context.trace_id != call.context.trace_id));
}

#[test]
fn what_finds_the_queue_full_is_dropped_and_counted_and_nobody_waits() {
    let (tracer, mut ended, dropped) = tracer(1.0, 2);
    for _ in 0..5 {
        tracer.request(&headers(&[])).answered("http", "events", "POST", 200);
    }
    assert_eq!(dropped.get(), 3);
    assert!(ended.try_recv().is_ok() && ended.try_recv().is_ok() && ended.try_recv().is_err());
}

#[test]
fn whose_client_went_away_says_so() {
    let (tracer, mut ended, _) = tracer(1.0, 9);
    drop(tracer.request(&headers(&[])));
    let traced = tracer.request(&headers(&[]));
    drop(tracer.call(&PUT, "mesh", [traced.context()].into_iter()));
    let (request, call) = (ended.try_recv().unwrap(), ended.try_recv().unwrap());
    assert_eq!(request.error.as_deref(), Some("its client went away before it was answered"));
    assert_eq!(call.error.as_deref(), Some("given up before it was answered"));
}

#[test]
fn otlp_has_ids_in_hexadecimal_and_large_numbers_as_text() {
    let (tracer, mut ended, _) = tracer(1.0, 9);
    let traced = tracer.request(&headers(&[("traceparent", PARENT), ("tracestate", "a=1")]));
    traced.answered("http", "events", "POST", 503);
    drop(traced);
    let mut span = ended.try_recv().unwrap();
    let fixed = SpanContext { span_id: SpanId::of_random(7), ..(*span.context).clone() };
    span.links = vec![Arc::new(fixed.clone())];
    (span.context, span.start, span.end) = (Arc::new(fixed), 1_700_000_000_000_000_001, 1_700_000_000_000_000_002);
    let body = otlp::export(&[("service.name".into(), "meshgate".into())], &[span]);
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    expect![[r#"
        {
          "resource": {
            "attributes": [
              {
                "key": "service.name",
                "value": {
                  "stringValue": "meshgate"
                }
              }
            ]
          },
          "scopeSpans": [
            {
              "scope": {
                "name": "meshgate",
                "version": "0.1.0"
              },
              "spans": [
                {
                  "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
                  "spanId": "0000000000000007",
                  "traceState": "a=1",
                  "parentSpanId": "00f067aa0ba902b7",
                  "flags": 769,
                  "name": "POST /v1/streams/{stream}/events",
                  "kind": 2,
                  "startTimeUnixNano": "1700000000000000001",
                  "endTimeUnixNano": "1700000000000000002",
                  "attributes": [
                    {
                      "key": "http.route",
                      "value": {
                        "stringValue": "/v1/streams/{stream}/events"
                      }
                    },
                    {
                      "key": "http.request.method",
                      "value": {
                        "stringValue": "POST"
                      }
                    },
                    {
                      "key": "http.response.status_code",
                      "value": {
                        "intValue": "503"
                      }
                    },
                    {
                      "key": "error.type",
                      "value": {
                        "stringValue": "503"
                      }
                    }
                  ],
                  "links": [
                    {
                      "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
                      "spanId": "0000000000000007",
                      "traceState": "a=1",
                      "flags": 257
                    }
                  ],
                  "droppedLinksCount": 0,
                  "status": {
                    "code": 2,
                    "message": "answered with status 503"
                  }
                }
              ]
            }
          ]
        }"#]]
    .assert_eq(&format!("{:#}", body["resourceSpans"][0]));
}
