// The vendor's device client for Node: registers once and prints the registration
// state, or the error, as JSON. SIM_TRANSPORT is http or mqtt.
'use strict';
const fs = require('fs');
const https = require('https');
const { ProvisioningDeviceClient } = require('azure-iot-provisioning-device');
const { X509Security } = require('azure-iot-security-x509');

const [host, port] = process.env.SIM_ADDRESS.split(':');
const ca = fs.readFileSync(process.env.SIM_ROOT);
const name = 'global.azure-devices-provisioning.net';

function transport() {
  if (process.env.SIM_TRANSPORT === 'http') {
    const { Http } = require('azure-iot-provisioning-device-http');
    const base = new (require('azure-iot-http-base').Http)();
    base.setOptions({ http: { agent: new https.Agent({ host, port, ca, keepAlive: false }) } });
    return new Http(base);
  }
  const { Mqtt } = require('azure-iot-provisioning-device-mqtt');
  const { MqttBase } = require('azure-iot-mqtt-base');
  const mqtt = require('mqtt');
  // The base takes another MQTT library: the same one, told where to connect.
  return new Mqtt(new MqttBase({
    connect: (_uri, options) => mqtt.connect({ ...options, protocol: 'mqtts', host, port: Number(port), servername: name, ca }),
  }));
}

const security = new X509Security(process.env.SIM_REGISTRATION, {
  cert: fs.readFileSync(process.env.SIM_CHAIN, 'utf8'),
  key: fs.readFileSync(process.env.SIM_KEY, 'utf8'),
});
const client = ProvisioningDeviceClient.create(name, process.env.SIM_SCOPE, transport(), security);
client.setProvisioningPayload({ model: 'press' });
client.register((err, state) => {
  if (err) {
    console.log(JSON.stringify({ error: err.name, message: err.message, body: err.responseBody || err.result }));
  } else {
    console.log(JSON.stringify(state));
  }
  process.exit(0);
});
