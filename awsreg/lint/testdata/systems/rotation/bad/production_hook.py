import datetime

import boto3

client = boto3.client("iot")
today = datetime.datetime.today().strftime("%Y%m%d")
provision_response = {"allowProvisioning": False, "parameterOverrides": {"CertDate": today}}


def lambda_handler(event, context):
    serial = event["parameters"]["SerialNumber"]
    if known(serial):
        provision_response["allowProvisioning"] = True
    return provision_response


def known(serial):
    return client.describe_thing(thingName=serial)["version"] == 1
