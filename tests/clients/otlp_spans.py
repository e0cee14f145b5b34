"""Reads OTLP requests, one of JSON a line, by OpenTelemetry's published definitions, and prints their spans as one JSON list.

OTLP's JSON differs from protobuf's in one thing: ids are hexadecimal, not base64. They are turned into that before; all else must be
as protobuf has it, unknown members included.
"""

import base64
import json
import sys

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

IDS = ("traceId", "spanId", "parentSpanId")


def with_base64(value):
    if isinstance(value, list):
        return [with_base64(item) for item in value]
    if isinstance(value, dict):
        return {
            name: base64.b64encode(bytes.fromhex(item)).decode() if name in IDS else with_base64(item)
            for name, item in value.items()
        }
    return value


def attributes(pairs):
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


def told(resource, span):
    assert len(span.trace_id) == 16 and len(span.span_id) == 8 and len(span.parent_span_id) in (0, 8), span
    assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano, span
    return {
        "name": span.name,
        "kind": Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        "traceId": span.trace_id.hex(),
        "spanId": span.span_id.hex(),
        "parentSpanId": span.parent_span_id.hex(),
        "traceState": span.trace_state,
        "isParentRemote": bool(span.flags & 0x200),
        "attributes": attributes(span.attributes),
        "links": [{"traceId": link.trace_id.hex(), "spanId": link.span_id.hex()} for link in span.links],
        "error": span.status.message if span.status.code == 2 else None,
        "resource": resource,
    }


spans = []
for line in sys.stdin:
    request = json_format.ParseDict(with_base64(json.loads(line)), ExportTraceServiceRequest())
    for of_resource in request.resource_spans:
        resource = attributes(of_resource.resource.attributes)
        for of_scope in of_resource.scope_spans:
            assert of_scope.scope.name == "meshgate", of_scope.scope
            spans += [told(resource, span) for span in of_scope.spans]
print(json.dumps(spans))
