// The vendor's registry client for Node against a hub: one step a line, each with what
// was answered, as JSON. The names stay Azure's; the agent goes elsewhere.
'use strict';
const fs = require('fs');
const https = require('https');
const { Registry } = require('azure-iothub');

const [host, port] = process.env.SIM_ADDRESS.split(':');
const agent = new https.Agent({ host, port, ca: fs.readFileSync(process.env.SIM_ROOT), keepAlive: false });

function registry(connection) {
  const r = Registry.fromConnectionString(connection);
  r._restApiClient.setOptions({ http: { agent } });
  return r;
}

async function step(name, call) {
  const out = { step: name };
  try {
    const result = await call();
    out.body = result && result.responseBody !== undefined ? result.responseBody : null;
    if (out.body && out.body._registry) delete out.body._registry;
  } catch (err) {
    out.error = err.name;
    out.message = err.message;
  }
  console.log(JSON.stringify(out, (key, value) => (key === '_registry' ? undefined : value)));
  return out.body;
}

(async () => {
  const good = registry(process.env.SIM_CONNECTION);
  const device = {
    deviceId: 'Press-1',
    authentication: { x509Thumbprint: { primaryThumbprint: process.env.THUMBPRINT, secondaryThumbprint: '' } },
    capabilities: { iotEdge: true },
  };
  await step('create', () => good.create(device));
  await step('create again', () => good.create(device));
  await step('get', () => good.get('Press-1'));
  await step('get in lower case', () => good.get('press-1'));
  await step('disable', () => good.update({ ...device, status: 'disabled', statusReason: 'mintmark: held' }));
  await step('list', () => good.list());
  await step('twin', () => good.getTwin('Press-1'));
  const bad = 'AAAAAAAAAAA=';
  await step('twin with an old etag', () => good.updateTwin('Press-1', { tags: { line: 2 } }, bad));
  await step('update twin', () => good.updateTwin('Press-1', { tags: { line: 2, gone: null }, properties: { desired: { rate: 5 } } }, '*'));
  await step('bad thumbprint', () => good.create({ ...device, deviceId: 'x', authentication: { x509Thumbprint: { primaryThumbprint: 'xyz' } } }));
  await step('delete', () => good.delete('Press-1'));
  await step('delete again', () => good.delete('Press-1'));
  await step('unauthorized', () => registry(process.env.SIM_BAD_CONNECTION).get('Press-1'));
})();
