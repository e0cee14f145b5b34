//! Says in a call which trace it belongs to, so that what stands behind sees it.

use aws_sdk_kinesis::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_kinesis::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_kinesis::error::BoxError;

use crate::model::SpanContext;

/// Adds `traceparent` and `tracestate` to a call, after it is signed: a proxy on the way may have a span of its own and rewrite them,
/// which would break a signature that covers them.
#[derive(Debug)]
pub struct Propagated {
    traceparent: String,
    tracestate: Option<String>,
}

impl From<&SpanContext> for Propagated {
    fn from(context: &SpanContext) -> Self {
        Self { traceparent: context.traceparent(), tracestate: context.state.as_deref().map(str::to_owned) }
    }
}

impl Intercept for Propagated {
    fn name(&self) -> &'static str {
        "MeshgateTraceContext"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.request_mut().headers_mut();
        headers.insert("traceparent", self.traceparent.clone());
        if let Some(state) = &self.tracestate {
            headers.insert("tracestate", state.clone());
        }
        Ok(())
    }
}
