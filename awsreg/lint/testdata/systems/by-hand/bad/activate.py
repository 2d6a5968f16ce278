import boto3

iot = boto3.client("iot")


def lambda_handler(event, context):
    cert = event["certificateId"]
    print "activating " + cert
    arn = "arn:aws:iot:ap-northeast-1:111122223333:cert/" + cert
    iot.attach_principal_policy(policyName="JustInTime", principal=arn)
    iot.update_certificate(certificateId=cert, newStatus="ACTIVE")
