"""Publishes one message with the AWS IoT Device SDK v2: pip install awsiotsdk"""

import json
import os
import sys

from awscrt import mqtt
from awsiot import mqtt_connection_builder

HERE = os.path.dirname(os.path.abspath(__file__))


def here(name):
    return os.path.join(HERE, name)


def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else @PORT@
    connection = mqtt_connection_builder.mtls_from_path(
        endpoint="@ENDPOINT@",
        port=port,
        cert_filepath=here("certificate-and-chain.pem"),
        pri_key_filepath=here(os.environ.get("KEY", "@KEY@")),
        ca_filepath=here("AmazonRootCA.pem"),
        client_id="@THING@",
        clean_session=True,
        keep_alive_secs=30,
    )
    connection.connect().result(timeout=30)
    done, _ = connection.publish(
        topic="@TOPIC@",
        payload=json.dumps({"hello": "@THING@"}),
        qos=mqtt.QoS.AT_LEAST_ONCE,
    )
    done.result(timeout=30)
    connection.disconnect().result(timeout=30)
    print("published to @TOPIC@")


if __name__ == "__main__":
    main()
