def handle(event, context):
    serial = event["parameters"]["SerialNumber"]
    admitted = serial.startswith("2974")
    return {"allowProvisioning": admitted}
