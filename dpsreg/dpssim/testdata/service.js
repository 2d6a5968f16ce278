// The vendor's service client for Node against the data plane: one step a line, each
// with what was answered, as JSON. The names stay Azure's; the agent goes elsewhere.
'use strict';
const fs = require('fs');
const https = require('https');
const { ConnectionString, SharedAccessSignature } = require('azure-iot-common');
const { Http, RestApiClient } = require('azure-iot-http-base');
const { ProvisioningServiceClient } = require('azure-iot-provisioning-service');

const [host, port] = process.env.SIM_ADDRESS.split(':');
const ca = fs.readFileSync(process.env.SIM_ROOT);
const cn = ConnectionString.parse(process.env.SIM_CONNECTION);
const http = new Http();
http.setOptions({ http: { agent: new https.Agent({ host, port, ca, keepAlive: false }) } });
const config = {
  host: cn.HostName,
  sharedAccessSignature: SharedAccessSignature.create(cn.HostName, cn.SharedAccessKeyName, cn.SharedAccessKey, Math.floor(Date.now() / 1000) + 600),
};
const client = new ProvisioningServiceClient(config, new RestApiClient(config, 'test', http));

async function step(name, call) {
  const out = { step: name };
  try {
    const result = await call();
    out.body = result && result.responseBody !== undefined ? result.responseBody : result;
  } catch (err) {
    out.error = err.name;
    if (err.response) out.status = err.response.statusCode;
    if (err.responseBody) out.body = JSON.parse(err.responseBody);
    if (!err.response) out.message = String(err);
  }
  console.log(JSON.stringify(out));
  return out.body;
}

async function all(name, query) {
  const seen = [];
  let pages = 0;
  await step(name, async () => {
    do {
      // Without an argument the promise form of next begins again at the first page.
      const page = await query.next(query.continuationToken);
      seen.push(...page.responseBody.map((e) => e.enrollmentGroupId || e.registrationId));
      pages++;
    } while (query.hasMoreResults);
    return { seen, pages };
  });
}

(async () => {
  const pem = (name) => fs.readFileSync(process.env['SIM_' + name], 'utf8');
  const group = {
    enrollmentGroupId: 'line-a',
    attestation: { type: 'x509', x509: { signingCertificates: { primary: { certificate: pem('LINE') } } } },
    provisioningStatus: 'enabled',
    capabilities: { iotEdge: true },
    initialTwin: { tags: { line: 'a' }, properties: { desired: { interval: 5 } } },
  };
  const made = await step('create', () => client.createOrUpdateEnrollmentGroup(group));
  await step('create again', () => client.createOrUpdateEnrollmentGroup(group));
  const got = await step('get', () => client.getEnrollmentGroup('LINE-A'));
  // What was read is sent back with Info only, and one slot more.
  got.attestation.x509.signingCertificates.secondary = { certificate: pem('NEXT') };
  await step('update', () => client.createOrUpdateEnrollmentGroup(got));
  await step('update with the old etag', () => client.createOrUpdateEnrollmentGroup({ ...got, etag: made.etag }));
  await step('update with no etag at all', () => client.createOrUpdateEnrollmentGroup({ ...got, etag: 'line-a' }));
  await step('mechanism', () => client.getEnrollmentGroupAttestationMechanism('line-a'));
  await step('missing', () => client.getEnrollmentGroup('line-b'));

  const one = (id) => ({ registrationId: id, attestation: { type: 'x509', x509: { clientCertificates: { primary: { certificate: pem('LEAF') } } } } });
  const bulk = (mode, list) => new Promise((resolve, reject) =>
    client.runBulkEnrollmentOperation({ mode, enrollments: list }, (err, result) => (err ? reject(err) : resolve(result))));
  const ids = (from, to) => Array.from({ length: to - from }, (_, i) => 'press-' + String(from + i).padStart(2, '0'));
  await step('bulk create', () => bulk('create', ids(0, 10).map(one)));
  await step('bulk create, half there', () => bulk('create', ids(8, 12).map(one)));
  await step('bulk of eleven', () => bulk('create', ids(20, 31).map(one)));
  const press = await step('get individual', () => client.getIndividualEnrollment('press-03'));
  await step('bulk update', () => bulk('updateIfMatchEtag', [{ ...press, provisioningStatus: 'disabled' }, { ...one('press-04'), etag: press.etag }]));
  await all('query', client.createIndividualEnrollmentQuery({ query: 'SELECT * FROM enrollments' }, 5));
  await all('query groups', client.createEnrollmentGroupQuery({ query: 'SELECT * FROM enrollmentGroups' }, 5));
  await all('query registrations', client.createEnrollmentGroupDeviceRegistrationStateQuery({ query: 'SELECT * FROM registrations' }, 'line-a', 5));
  await step('registration', () => client.getDeviceRegistrationState('press-03'));
  await step('bulk delete', () => bulk('delete', ids(0, 9).map((id) => ({ registrationId: id }))));
  await step('delete with the old etag', () => client.deleteEnrollmentGroup('line-a', made.etag));
  await step('delete', () => client.deleteEnrollmentGroup('line-a'));
})();
