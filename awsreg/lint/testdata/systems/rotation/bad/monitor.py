from datetime import datetime, timedelta

import boto3

client = boto3.client("iot")
data = boto3.client("iot-data")
due_date = (datetime.today() - timedelta(days=360)).strftime("%Y%m%d")
trigger_date = (datetime.today() - timedelta(days=374)).strftime("%Y%m%d")


def find():
    return client.search_index(queryString="attributes.cert_issuance<" + due_date, maxResults=500)


def deactivate_cert(thing):
    arn = client.list_thing_principals(thingName=thing)["principals"][0]
    client.update_certificate(certificateId=arn.split("/")[1], newStatus="INACTIVE")


def lambda_handler(event, context):
    for thing in find()["things"]:
        cert_issuance = thing["attributes"]["cert_issuance"]
        data.publish(topic="cmd/{}/alerts".format(thing["thingName"]), payload='{"msg":"rotate_cert"}')
        if cert_issuance >= trigger_date:
            deactivate_cert(thing["thingName"])
