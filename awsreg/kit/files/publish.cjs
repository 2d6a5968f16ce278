// Publishes one message with the AWS IoT Device SDK v2:
// npm install aws-iot-device-sdk-v2
"use strict";

const path = require("node:path");
const { iot, mqtt } = require("aws-iot-device-sdk-v2");

const here = (name) => path.resolve(__dirname, name);

async function main() {
  const config = iot.AwsIotMqttConnectionConfigBuilder
    .new_mtls_builder_from_path(here("certificate-and-chain.pem"), here(process.env.KEY || "@KEY@"))
    .with_certificate_authority_from_path(undefined, here("AmazonRootCA.pem"))
    .with_endpoint("@ENDPOINT@")
    .with_port(Number(process.argv[2] || @PORT@))
    .with_client_id("@THING@")
    .with_clean_session(true)
    .build();
  const connection = new mqtt.MqttClient().new_connection(config);
  await connection.connect();
  await connection.publish("@TOPIC@", JSON.stringify({ hello: "@THING@" }), mqtt.QoS.AtLeastOnce);
  await connection.disconnect();
  console.log("published to @TOPIC@");
}

main().catch((problem) => {
  console.error(String(problem));
  process.exit(1);
});
