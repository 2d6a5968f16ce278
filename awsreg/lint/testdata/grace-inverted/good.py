from datetime import date, timedelta

import boto3

iot = boto3.client("iot")
data = boto3.client("iot-data")
PERIOD, GRACE = timedelta(days=360), timedelta(days=14)


def due(today):
    query = "attributes.cert_issuance<" + (today - PERIOD).strftime("%Y%m%d")
    token = None
    while True:
        page = iot.search_index(queryString=query, maxResults=250, **({"nextToken": token} if token else {}))
        yield from page["things"]
        token = page.get("nextToken")
        if not token:
            return


def overdue(name):
    print("overdue:", name)


def handle(event, context):
    today = date.today()
    limit = (today - PERIOD - GRACE).strftime("%Y%m%d")
    for thing in due(today):
        issued = thing["attributes"]["cert_issuance"]
        data.publish(topic="cmd/" + thing["thingName"] + "/alerts", payload="rotate")
        if issued < limit:
            overdue(thing["thingName"])
