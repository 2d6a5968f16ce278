import boto3

TABLE = boto3.resource("dynamodb").Table("expected")


def lambda_handler(event, context):
    serial = event["parameters"]["SerialNumber"]
    item = TABLE.get_item(Key={"serial": serial}).get("Item")
    return {"allowProvisioning": item is not None}
