import boto3

iot = boto3.client("iot")


def make_claim(csr):
    made = iot.create_certificate_from_csr(certificateSigningRequest=csr, setAsActive=True)
    with open("claim.pem", "w") as f:
        f.write(made["certificatePem"])
