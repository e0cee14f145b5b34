"""Parameters of an AWS call against botocore's model of the service: names, types, lengths, enumerations. Nothing is called.

  parameters.py SERVICE OPERATION FILE.json
"""
import json
import sys

import botocore.session
from botocore.validate import ParamValidator

service, operation, path = sys.argv[1:]
parameters = json.load(open(path))
model = botocore.session.get_session().get_service_model(service).operation_model(operation)
faults = []
report = ParamValidator().validate(parameters, model.input_shape)
if report.has_errors():
    faults.append(report.generate_report())


def enumerations(value, shape, place):
    """botocore leaves these to the service."""
    if shape.type_name == "structure":
        for name, member in value.items():
            if name in shape.members:
                enumerations(member, shape.members[name], f"{place}.{name}")
    elif shape.type_name == "list":
        for index, item in enumerate(value):
            enumerations(item, shape.member, f"{place}[{index}]")
    elif shape.type_name == "string" and shape.enum and value not in shape.enum:
        faults.append(f"{place}: {value} is none of {', '.join(shape.enum)}")


enumerations(parameters, model.input_shape, operation)
if faults:
    sys.exit("\n".join(faults))
