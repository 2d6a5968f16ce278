import os

import boto3

TABLE = boto3.resource("dynamodb").Table(os.environ["TABLE"])



def handle(event, context):
    answer = {"allowProvisioning": False, "parameterOverrides": {}}
    serial = event["parameters"]["SerialNumber"]
    found = TABLE.get_item(Key={"serial": serial}).get("Item")
    if found:
        answer["allowProvisioning"] = True
    return answer
