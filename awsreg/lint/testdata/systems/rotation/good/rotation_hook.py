import os

import boto3

client = boto3.client("iot")


def lambda_handler(event, context):
    serial = event["parameters"]["SerialNumber"]
    own = client.list_principal_things(principal=os.environ["PREFIX"] + event["claimCertificateId"])["things"]
    if own != [serial]:
        return {"allowProvisioning": False}
    thing = client.describe_thing(thingName=serial)
    return {"allowProvisioning": thing["attributes"]["cert_issuance"] < event["parameters"]["CertDate"]}
