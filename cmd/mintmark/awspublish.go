package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/spf13/cobra"

	"mintmark/awsreg/claim"
)

// publishTimeout bounds connecting and publishing, each.
const publishTimeout = 15 * time.Second

func newAWSPublish(a *app) *cobra.Command {
	var endpoint, roots, cert, key, clientID, topic, message string
	c := a.command("publish --endpoint HOST:PORT --cert FILE --key FILE --client-id ID --topic TOPIC --message TEXT",
		"Connect as a device and publish one message",
		`Publish does what a device does after enrollment: it connects to AWS IoT Core
over MQTT with its certificate and chain, publishes one message with QoS 1, and
waits for the acknowledgement. Under just-in-time registration the first
connection is refused, while AWS registers the certificate: run it again after
some seconds.`,
		"  mintmark aws publish --endpoint example-ats.iot.eu-central-1.amazonaws.com:8883 --ca amazon-root.pem --cert device.pem --key device.key --client-id device-1 --topic devices/device-1/hello --message hello",
		cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			// The chain belongs to the handshake: AWS finds the registered CA in it.
			pair, err := tls.LoadX509KeyPair(cert, key)
			if err != nil {
				return fmt.Errorf("loading the device's certificate and key: %w", err)
			}
			config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
			if roots != "" {
				data, err := os.ReadFile(roots)
				if err != nil {
					return err
				}
				config.RootCAs = x509.NewCertPool()
				if !config.RootCAs.AppendCertsFromPEM(data) {
					return fmt.Errorf("%s holds no certificate", roots)
				}
			}
			options := mqtt.NewClientOptions().AddBroker("ssl://" + endpoint).SetClientID(clientID).SetTLSConfig(config).
				SetAutoReconnect(false).SetConnectRetry(false).SetConnectTimeout(publishTimeout).SetProtocolVersion(4)
			client := mqtt.NewClient(options)
			if err := finish(client.Connect(), "connecting"); err != nil {
				return err
			}
			defer client.Disconnect(250)
			if err := finish(client.Publish(topic, 1, false, message), "publishing"); err != nil {
				return err
			}
			a.say("published to %s, acknowledged", topic)
			return nil
		})
	f := c.Flags()
	f.StringVar(&endpoint, "endpoint", "", "`host:port` of the data endpoint (aws iot describe-endpoint --endpoint-type iot:Data-ATS; port 8883)")
	f.StringVar(&roots, "ca", "", "`file` with the trust anchors for the endpoint's certificate (default the system's)")
	f.StringVar(&cert, "cert", "", "`file` with the device's certificate and its chain")
	f.StringVar(&key, "key", "", "`file` with the device's key")
	f.StringVar(&clientID, "client-id", "", "MQTT client `identifier`")
	f.StringVar(&topic, "topic", "", "`topic` to publish to")
	f.StringVar(&message, "message", "", "`text` to publish")
	for _, name := range []string{"endpoint", "cert", "key", "client-id", "topic", "message"} {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err) // a name that is not a flag: a mistake above
		}
	}
	return c
}

// finish waits for an MQTT operation.
func finish(token mqtt.Token, doing string) error {
	if !token.WaitTimeout(publishTimeout) {
		return fmt.Errorf("%s: no answer within %v", doing, publishTimeout)
	}
	err := token.Error()
	if err == nil {
		return nil
	}
	err = claim.Cause(err)
	if claim.Closed(err) {
		return fmt.Errorf("%s: %w\nAWS closes the connection of a certificate that is pending, inactive, revoked or without a policy for what was done; it gives no reason", doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}
