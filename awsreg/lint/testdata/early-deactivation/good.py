import boto3

iot = boto3.client("iot")
table = boto3.resource("dynamodb").Table("rotation")


def handle(event, context):
    """Called by a rule on $aws/events/presence/connected/+."""
    item = table.get_item(Key={"thing": event["clientId"]}).get("Item")
    if item and event["eventType"] == "connected" and event["principalIdentifier"] == item["next"]:
        iot.update_certificate(certificateId=item["current"], newStatus="INACTIVE")
