def lambda_handler(event, context):
    serial = event["parameters"]["SerialNumber"]
    return {"allowProvisioning": serial.startswith("29")}
