import json
from datetime import datetime, timezone

import boto3

TABLE = boto3.resource("dynamodb").Table("expected")


def lambda_handler(event, context):
    print(json.dumps(event))
    serial = event["parameters"]["SerialNumber"]
    if not TABLE.get_item(Key={"serial": serial}).get("Item"):
        return {"allowProvisioning": False}
    issued = datetime.now(timezone.utc).strftime("%Y%m%d")
    return {"allowProvisioning": True, "parameterOverrides": {"CertDate": issued}}
