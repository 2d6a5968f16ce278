import json
from datetime import datetime, timezone


def lambda_handler(event, context):
    print(json.dumps(event))
    serial = event["parameters"]["SerialNumber"]
    if not serial.startswith("GW"):
        return {"allowProvisioning": False}
    issued = datetime.now(timezone.utc).strftime("%Y%m%d")
    return {"allowProvisioning": True, "parameterOverrides": {"CertDate": issued}}
