import boto3

iot = boto3.client("iot")


def put_policy(name, document):
    versions = iot.list_policy_versions(policyName=name)["policyVersions"]
    idle = [v for v in versions if not v["isDefaultVersion"]]
    if len(versions) >= 5:
        iot.delete_policy_version(policyName=name, policyVersionId=idle[-1]["versionId"])
    iot.create_policy_version(policyName=name, policyDocument=document, setAsDefault=True)
