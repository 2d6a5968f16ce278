import boto3

iot = boto3.client("iot")


def put_policy(name, document):
    iot.create_policy_version(policyName=name, policyDocument=document, setAsDefault=True)
