package drill

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// presents is what a device has for TLS.
func (d *device) presents() tls.Certificate {
	c := tls.Certificate{PrivateKey: d.key, Leaf: d.leaf}
	for _, one := range d.chain() {
		c.Certificate = append(c.Certificate, one.Raw)
	}
	return c
}

// wired has a device do over connections what it otherwise does inside this process: ask EST
// for something that changes nothing, and connect to its cloud.
func (p *plant) wired(d *device) error {
	if err := p.dialEST(d); err != nil {
		return fmt.Errorf("EST: %w", err)
	}
	var err error
	if d.cloud == "plant" {
		err = p.register(d)
	} else {
		err = p.mqtt(d)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", d.cloud, err)
	}
	return nil
}

func (p *plant) dialEST(d *device) error {
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
		RootCAs: d.store.pool, ServerName: "localhost", Certificates: []tls.Certificate{d.presents()},
		Time: func() time.Time { return d.says(p.clock.now()) },
	}}}
	answer, err := client.Get("https://" + p.est + "/.well-known/est/" + d.label() + "/csrattrs")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusNoContent {
		err = fmt.Errorf("answered %s: %s", answer.Status, body)
	}
	return err
}

// mqtt is TLS, and an MQTT CONNECT (MQTT 3.1.1, Section 3.1).
func (p *plant) mqtt(d *device) error {
	anchors := x509.NewCertPool()
	anchors.AppendCertsFromPEM(p.aws.RootPEM())
	raw, err := net.Dial("tcp", p.aws.BrokerAddr())
	if err != nil {
		return err
	}
	conn := tls.Client(raw, &tls.Config{RootCAs: anchors, ServerName: p.hosts[d.cloud], Certificates: []tls.Certificate{d.presents()}, Time: p.clock.now})
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	variable := append([]byte{0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, byte(len(d.name))}, d.name...)
	if _, err := conn.Write(append([]byte{0x10, byte(len(variable))}, variable...)); err != nil {
		return err
	}
	answer := make([]byte, 4)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return err
	}
	if answer[0] != 0x20 || answer[3] != 0 {
		return fmt.Errorf("CONNACK %x", answer)
	}
	return nil
}

// register is a registration at the Device Provisioning Service, over HTTPS.
func (p *plant) register(d *device) error {
	anchors := x509.NewCertPool()
	anchors.AppendCertsFromPEM(p.dps.RootPEM())
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, p.dps.Addr())
		},
		TLSClientConfig: &tls.Config{RootCAs: anchors, Certificates: []tls.Certificate{d.presents()}, Time: p.clock.now},
	}}
	request, err := http.NewRequest("PUT", "https://global.azure-devices-provisioning.net/"+p.dps.Config().IDScope+"/registrations/"+d.name+"/register?api-version=2021-06-01",
		bytes.NewReader(fmt.Appendf(nil, `{"registrationId":%q}`, d.name)))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	var out struct {
		Operation string `json:"operationId"`
		Message   string `json:"message"`
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, 1<<20)).Decode(&out); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusAccepted || out.Operation == "" {
		return errors.New(answer.Status + ": " + out.Message)
	}
	return nil
}
