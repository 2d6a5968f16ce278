export function requestCertificate(connection, csr) {
  connection.publish("$aws/certificates/create-from-csr/json", JSON.stringify({ certificateSigningRequest: csr }), 1);
}
