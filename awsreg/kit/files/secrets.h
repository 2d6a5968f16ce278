/* For an ESP32 with Arduino: WiFiClientSecure and PubSubClient.
 *
 *   WiFiClientSecure tls;
 *   PubSubClient mqtt(tls);
 *   tls.setCACert(AWS_ROOTS);
 *   tls.setCertificate(AWS_CERTIFICATE);
 *   tls.setPrivateKey(key);            // from NVS or the secure element, not from here
 *   mqtt.setServer(AWS_ENDPOINT, AWS_PORT);
 *   mqtt.setBufferSize(1024);
 *   mqtt.connect(AWS_CLIENT_ID);
 *   mqtt.publish(AWS_TOPIC, "{\"hello\":\"@THING@\"}");
 *
 * The clock must be set (configTime) before TLS works. */
#ifndef SECRETS_H_
#define SECRETS_H_

static const char AWS_ENDPOINT[] = "@ENDPOINT@";
static const int AWS_PORT = @PORT@;
static const char AWS_CLIENT_ID[] = "@THING@";
static const char AWS_TOPIC[] = "@TOPIC@";

/* Valid until @NOT_AFTER@, id @CERTIFICATE_ID@ at AWS. */
static const char AWS_CERTIFICATE[] =
@CERTIFICATE_LINES@;

static const char AWS_ROOTS[] =
@ROOT_LINES@;

#endif /* SECRETS_H_ */
