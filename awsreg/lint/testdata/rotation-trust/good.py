import os

import boto3

iot = boto3.client("iot")
table = boto3.resource("dynamodb").Table(os.environ["TABLE"])


def handle(event, context):
    """Decides whether a press may rotate its certificate."""
    serial = event["parameters"]["SerialNumber"]
    thing = "press-" + serial
    principal = os.environ["CERTIFICATES"] + event["claimCertificateId"]
    if thing not in iot.list_principal_things(principal=principal)["things"]:
        return {"allowProvisioning": False}
    item = table.get_item(Key={"thing": thing}).get("Item")
    return {"allowProvisioning": bool(item and item["due"])}
