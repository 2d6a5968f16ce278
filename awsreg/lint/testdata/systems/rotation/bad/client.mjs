export function requestCertificate(connection) {
  connection.publish("$aws/certificates/create/json", "", 1);
}
