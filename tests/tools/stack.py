"""A stack of deploy/cloudformation/meshgate.yaml, made on an emulator that checks IAM, and credentials for those who live with it.

  stack.py ENDPOINT TEMPLATE [PARAMETER=VALUE …]

Prints JSON: the stack's outputs; `policy`, what its role may do; `gate`, credentials of that role; `other`, those of a user who may do
everything with every stream.
The emulator knows no AWS::Kinesis::ResourcePolicy, so that the stack is made without it, and the policy put as CloudFormation would.
"""
import json
import sys
import time

import boto3
import yaml

endpoint, template_path = sys.argv[1:3]
parameters = dict(p.split("=", 1) for p in sys.argv[3:])


def client(service):
    return boto3.client(service, endpoint_url=endpoint, region_name="us-east-1")


class Loader(yaml.SafeLoader):
    pass


def short_form(loader, suffix, node):
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt":
        value = value.split(".")
    return {"Ref" if suffix == "Ref" else "Fn::" + suffix: value}


Loader.add_multi_constructor("!", short_form)
text = open(template_path).read()
template = yaml.load(text, Loader)
policy = template["Resources"]["MeshStreamPolicy"]["Properties"]

cloudformation = client("cloudformation")
cloudformation.create_stack(
    StackName="meshgate",
    TemplateBody=text,
    Capabilities=["CAPABILITY_NAMED_IAM"],
    Parameters=[
        {"ParameterKey": key, "ParameterValue": value} for key, value in {**parameters, "OnlyGatesWrite": "false"}.items()
    ],
)
for _ in range(100):
    stack = cloudformation.describe_stacks(StackName="meshgate")["Stacks"][0]
    if not stack["StackStatus"].endswith("IN_PROGRESS"):
        break
    time.sleep(0.1)
if stack["StackStatus"] != "CREATE_COMPLETE":
    events = cloudformation.describe_stack_events(StackName="meshgate")["StackEvents"]
    sys.exit("\n".join(f"{e['LogicalResourceId']}: {e['ResourceStatus']} {e.get('ResourceStatusReason', '')}" for e in events))
outputs = {o["OutputKey"]: o["OutputValue"] for o in stack["Outputs"]}


def resolved(value):
    if value == {"Fn::GetAtt": ["MeshStream", "Arn"]}:
        return outputs["MeshStreamArn"]
    if value == {"Fn::GetAtt": ["GateRole", "Arn"]}:
        # To AWS, aws:PrincipalArn of a session is the role's ARN; to the emulator, the session's own.
        return outputs["RoleArn"].replace(":iam:", ":sts:").replace(":role/", ":assumed-role/") + "/gate-1"
    if isinstance(value, dict):
        # What depends on a parameter is left out: none that it could depend on is given here.
        return {key: resolved(item) for key, item in value.items() if not (isinstance(item, dict) and "Fn::If" in item)}
    return [resolved(item) for item in value] if isinstance(value, list) else value


if parameters.get("OnlyGatesWrite", "true") == "true":
    client("kinesis").put_resource_policy(
        ResourceARN=resolved(policy["ResourceArn"]), Policy=json.dumps(resolved(policy["ResourcePolicy"]))
    )

# Nobody but a service may assume the role, and the emulator holds to that: so it is let go for the test.
iam = client("iam")
role_name = outputs["RoleArn"].rsplit("/", 1)[-1]
iam.update_assume_role_policy(
    RoleName=role_name,
    PolicyDocument=json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}
    ),
)
version = iam.get_policy(PolicyArn=outputs["PolicyArn"])["Policy"]["DefaultVersionId"]
document = iam.get_policy_version(PolicyArn=outputs["PolicyArn"], VersionId=version)["PolicyVersion"]["Document"]
# In two points the emulator asks for more than AWS does: there, sqs:SendMessage is for batches too (SQS has no action of that name), and
# a call of GetRecords is for the stream of its iterator. The role is given that where it has what AWS asks for.
more = []
for statement in document["Statement"]:
    if "sqs:SendMessage" in statement["Action"]:
        more.append({**statement, "Sid": "Batches", "Action": "sqs:SendMessageBatch"})
    if "kinesis:GetRecords" in statement["Action"]:
        more.append({**statement, "Sid": "Iterators", "Action": "kinesis:GetRecords", "Resource": "*"})
iam.put_role_policy(
    RoleName=role_name, PolicyName="emulator", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": more})
)
session = client("sts").assume_role(RoleArn=outputs["RoleArn"], RoleSessionName="gate-1")["Credentials"]
iam.create_user(UserName="producer")
iam.put_user_policy(
    UserName="producer",
    PolicyName="streams",
    PolicyDocument=json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "kinesis:*", "Resource": "*"}]}
    ),
)
key = iam.create_access_key(UserName="producer")["AccessKey"]
json.dump(
    {
        "outputs": outputs,
        "policy": document,
        "gate": [session["AccessKeyId"], session["SecretAccessKey"], session["SessionToken"]],
        "other": [key["AccessKeyId"], key["SecretAccessKey"], ""],
    },
    sys.stdout,
)
