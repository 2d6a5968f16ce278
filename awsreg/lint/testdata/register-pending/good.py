import boto3


def register(pem):
    return boto3.client("iot").register_certificate_without_ca(certificatePem=pem, status="INACTIVE")
