// Registers a device at DPS with Microsoft's client, and prints what DPS says.
//
//   node register.js ID-SCOPE REGISTRATION-ID CHAIN.pem KEY.pem
//
// CHAIN.pem is the device's certificate with the CAs above it, up to the one that DPS has
// verified. AZURE=HOST:PORT connects elsewhere than to Azure, whose names stay; the trust
// anchor of that place is in NODE_EXTRA_CA_CERTS.
'use strict';
const fs = require('fs');
const https = require('https');
const { ProvisioningDeviceClient } = require('azure-iot-provisioning-device');
const { Http } = require('azure-iot-provisioning-device-http');
const { Http: HttpBase } = require('azure-iot-http-base');
const { X509Security } = require('azure-iot-security-x509');

const [idScope, registrationId, chain, key] = process.argv.slice(2);
const base = new HttpBase();
if (process.env.AZURE) {
  const [host, port] = process.env.AZURE.split(':');
  base.setOptions({ http: { agent: new https.Agent({ host, port }) } });
}
const security = new X509Security(registrationId, { cert: fs.readFileSync(chain, 'utf8'), key: fs.readFileSync(key, 'utf8') });
const client = ProvisioningDeviceClient.create('global.azure-devices-provisioning.net', idScope, new Http(base), security);
client.register((err, state) => {
  if (err) {
    console.error(err.responseBody || err.message);
    process.exit(1);
  }
  console.log(`${state.registrationId}: ${state.status} to ${state.assignedHub} as ${state.deviceId}`);
});
