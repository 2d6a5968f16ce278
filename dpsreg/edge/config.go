package edge

import (
	"fmt"
	"strconv"
	"strings"
)

// Where things lie on the device, and the names of secrets that place.sh fills in.
// https://learn.microsoft.com/azure/iot-edge/how-to-manage-device-certificates
const (
	certs   = "/var/aziot/certs"
	secrets = "/var/aziot/secrets"

	passwordMark = "@EST_PASSWORD@"
	pinMark      = "@PKCS11_PIN@"
)

const notice = `IoT Edge configuration of %s, written by mintmark azure edge-config.
Its place is /etc/aziot/config.toml, where place.sh puts it. It is read by
iotedge config apply.
`

// The keys of each table are those of the vendor's template, each in the place where it
// is read: a key elsewhere is ignored without a word. Keys of the whole document come
// first, because they would belong to a table that stands before them.
// https://learn.microsoft.com/azure/iot-edge/configure-device
func (c Config) document() *document {
	d := &document{comment: fmt.Sprintf(notice, c.RegistrationID)}
	if c.Enroll.User != "" || c.Token.Library != "" && !c.Token.NoPIN {
		d.comment += "What stands between @ and @ is a secret that place.sh fills in.\n"
	}
	top := d.table()
	if c.Hostname != "" {
		top.set("hostname", c.Hostname)
	}
	if len(c.TrustBundle) > 0 {
		top.set("trust_bundle_cert", fileURI(certs, "trust-bundle.pem"))
	}
	top.set("auto_reprovisioning_mode", c.Reprovisioning)

	p := d.table("provisioning")
	p.set("source", "dps")
	p.set("global_endpoint", c.GlobalEndpoint)
	p.set("id_scope", c.IDScope)
	if len(c.Payload) > 0 {
		p.set("payload", inline{"uri", "file:///etc/aziot/payload.json"})
	}
	c.attestation(d)
	if c.byEST() {
		c.issuance(d)
	}
	if c.EdgeCA != "" {
		c.edgeCA(d)
	}
	if c.Token.Library != "" {
		k := d.table("aziot_keys")
		k.set("pkcs11_lib_path", c.Token.Library)
		k.set("pkcs11_base_slot", c.Token.uri(""))
	}
	return d
}

// attestation is the device's identity.
func (c Config) attestation(d *document) {
	a := d.table("provisioning", "attestation")
	a.set("method", "x509")
	a.set("registration_id", c.RegistrationID)
	switch c.Identity {
	case ByFile:
		a.set("identity_cert", fileURI(certs, "device-id.pem"))
		a.set("identity_pk", fileURI(secrets, "device-id.key.pem"))
	case ByPKCS11:
		a.set("identity_cert", fileURI(certs, "device-id.pem"))
		a.set("identity_pk", c.Token.uri(c.Token.Object))
	case ByEST:
		// The URL stands here and as the default below: the renewal asks for the
		// certificate under another name than the first time.
		i := d.table("provisioning", "attestation", "identity_cert")
		i.set("method", "est")
		i.set("common_name", c.RegistrationID)
		i.set("url", c.Enroll.URL)
		if !c.Individual {
			c.Renew.set(d.table("provisioning", "attestation", "identity_cert", "auto_renew"))
		}
	}
}

// issuance is how certificates come by EST.
func (c Config) issuance(d *document) {
	e := d.table("cert_issuance", "est")
	e.set("trusted_certs", c.trustURIs())
	auth := d.table("cert_issuance", "est", "auth") // must be there, if only empty
	url := c.EdgeCA
	if c.Identity == ByEST {
		c.authenticate(auth)
		url = c.Enroll.URL
	}
	if len(c.Enroll.Bootstrap) > 0 {
		c.Renew.set(d.table("cert_issuance", "est", "identity_auto_renew"))
	}
	// Without a default, aziot-certd does not find the URL of the EST identity's
	// renewal, and ends when it is started again.
	d.table("cert_issuance", "est", "urls").set("default", url)
}

// edgeCA is the CA certificate of the device. It authenticates by itself: with its own
// bootstrap it gets an EST identity of its own, in its own name and from its own label.
func (c Config) edgeCA(d *document) {
	e := d.table("edge_ca")
	e.set("method", "est")
	e.set("common_name", edgeCAPrefix+c.RegistrationID)
	e.set("url", c.EdgeCA)
	c.authenticate(e)
	c.Renew.set(d.table("edge_ca", "auto_renew"))
}

// authenticate says who asks for a certificate.
func (c Config) authenticate(t *table) {
	if c.Enroll.User != "" {
		t.set("username", c.Enroll.User)
		t.set("password", passwordMark)
	}
	key := func(name string) string {
		if c.Token.BootstrapObject != "" {
			return c.Token.uri(c.Token.BootstrapObject)
		}
		return fileURI(secrets, name)
	}
	switch {
	case len(c.Enroll.Bootstrap) > 0:
		t.set("bootstrap_identity_cert", fileURI(certs, "est-bootstrap-id.pem"))
		t.set("bootstrap_identity_pk", key("est-bootstrap-id.key.pem"))
	case len(c.Enroll.Certificate) > 0:
		t.set("identity_cert", fileURI(certs, "est-id.pem"))
		t.set("identity_pk", key("est-id.key.pem"))
	}
}

// set writes all three fields: one that is missing is an error of IoT Edge, and a
// missing table is no renewal.
func (r Renew) set(t *table) {
	t.set("rotate_key", !r.KeepKey)
	t.set("threshold", strconv.Itoa(r.Threshold)+"%")
	t.set("retry", strconv.Itoa(r.Retry)+"%")
}

// trustNames are the files of the EST server's trust anchors, one certificate each.
func (c Config) trustNames() []string {
	list, err := certificates("the trust anchors of the EST server", c.Enroll.Trust)
	if err != nil {
		return nil // withDefaults has refused it
	}
	var names []string
	for i := range list {
		name := "est-ca.pem"
		if i > 0 {
			name = "est-ca-" + strconv.Itoa(i+1) + ".pem"
		}
		names = append(names, name)
	}
	return names
}

func (c Config) trustURIs() []string {
	var list []string
	for _, name := range c.trustNames() {
		list = append(list, fileURI(certs, name))
	}
	return list
}

func fileURI(dir, name string) string { return "file://" + dir + "/" + name }

// uri is the PKCS #11 URI (RFC 7512) of an object in the token, or of the token. IoT
// Edge takes slot-id, token, object and pin-value, and leaves out everything else.
func (t Token) uri(object string) string {
	var b strings.Builder
	b.WriteString("pkcs11:")
	if t.Slot != nil {
		b.WriteString("slot-id=" + strconv.FormatUint(*t.Slot, 10))
	} else {
		b.WriteString("token=" + percent(t.Label))
	}
	if object != "" {
		b.WriteString(";object=" + percent(object))
	}
	if !t.NoPIN {
		b.WriteString("?pin-value=" + pinMark)
	}
	return b.String()
}

// percent encodes all but letters and digits, as aziot-keyd does itself.
func percent(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		if c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
