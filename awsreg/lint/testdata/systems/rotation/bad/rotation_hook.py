import datetime

import boto3

client = boto3.client("iot")


def lambda_handler(event, context):
    serial = event["parameters"]["DeviceSerial"]
    thing = client.describe_thing(thingName=serial)
    due = thing["attributes"]["cert_issuance"] < "20260101"
    if due:
        deactivate_old(serial)
    return {"allowProvisioning": due}


def deactivate_old(name):
    for arn in client.list_thing_principals(thingName=name)["principals"]:
        client.update_certificate(certificateId=arn.split("/")[1], newStatus="INACTIVE")
