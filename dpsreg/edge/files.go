package edge

import (
	_ "embed"
	"fmt"
	"io/fs"
	"strings"
)

// File is a file of the configuration.
type File struct {
	Name string // in the directory that is written
	Data []byte
	Mode fs.FileMode
	// Place is where place.sh puts it on the device, Owner and PlaceMode what it has
	// there; empty for place.sh itself.
	Place     string
	Owner     string
	PlaceMode fs.FileMode
}

//go:embed place.sh
var placeScript string

// Accounts of IoT Edge, and what their files have.
// https://learn.microsoft.com/azure/iot-edge/how-to-manage-device-certificates
const (
	certOwner    = "aziotcs" // aziot-certd
	keyOwner     = "aziotks" // aziot-keyd
	payloadOwner = "aziotid" // aziot-identityd
)

// Files makes the files of a device's configuration, config.toml first and place.sh last.
// It fails if IoT Edge or DPS would not take what is asked for, and says why. It may be
// called concurrently.
func Files(c Config) ([]File, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("configuring %q: %w", c.RegistrationID, err)
	}
	text, err := c.document().render()
	if err != nil {
		return nil, fmt.Errorf("writing config.toml: %w", err)
	}
	list := []File{{Name: "config.toml", Data: text, Mode: 0o600, Place: "/etc/aziot/config.toml", Owner: "root", PlaceMode: 0o600}}
	public, err := c.certificateFiles()
	if err != nil {
		return nil, err
	}
	list = append(list, public...)
	if len(c.Payload) > 0 {
		list = append(list, File{Name: "payload.json", Data: c.Payload, Mode: 0o644, Place: "/etc/aziot/payload.json", Owner: payloadOwner, PlaceMode: 0o600})
	}
	return append(list, File{Name: "place.sh", Data: []byte(c.script(list)), Mode: 0o755}), nil
}

// certificateFiles are the certificates that lie on the device.
func (c Config) certificateFiles() ([]File, error) {
	var list []File
	add := func(name string, data []byte) {
		list = append(list, File{Name: name, Data: data, Mode: 0o644, Place: certs + "/" + name, Owner: certOwner, PlaceMode: 0o644})
	}
	for _, one := range []struct {
		name, what string
		data       []byte
	}{
		{"device-id.pem", "the device's certificate", c.Chain},
		{"est-bootstrap-id.pem", "the bootstrap certificate", c.Enroll.Bootstrap},
		{"est-id.pem", "the EST identity", c.Enroll.Certificate},
		{"trust-bundle.pem", "the trust bundle", c.TrustBundle},
	} {
		if len(one.data) == 0 {
			continue
		}
		chain, err := certificates(one.what, one.data)
		if err != nil {
			return nil, err
		}
		add(one.name, encode(chain...))
	}
	if !c.byEST() {
		return list, nil
	}
	anchors, err := certificates("the trust anchors of the EST server", c.Enroll.Trust)
	if err != nil {
		return nil, err
	}
	for i, name := range c.trustNames() {
		add(name, encode(anchors[i]))
	}
	return list, nil
}

// deviceKey is a private key that place.sh puts in its place.
type deviceKey struct{ option, variable, name, certificate string }

// keys are the private keys that are files.
func (c Config) keys() []deviceKey {
	var list []deviceKey
	if c.Identity == ByFile {
		list = append(list, deviceKey{"--identity-key", "identity_key", "device-id.key.pem", "device-id.pem"})
	}
	switch {
	case c.Token.BootstrapObject != "":
	case len(c.Enroll.Bootstrap) > 0:
		list = append(list, deviceKey{"--bootstrap-key", "bootstrap_key", "est-bootstrap-id.key.pem", "est-bootstrap-id.pem"})
	case len(c.Enroll.Certificate) > 0:
		list = append(list, deviceKey{"--est-key", "est_key", "est-id.key.pem", "est-id.pem"})
	}
	return list
}

// Options are what place.sh must be given, as in "--identity-key FILE --pin-file FILE".
func (c Config) Options() string {
	var list []string
	for _, k := range c.keys() {
		list = append(list, k.option+" FILE")
	}
	if c.Enroll.User != "" {
		list = append(list, "--password-file FILE")
	}
	if c.Token.Library != "" && !c.Token.NoPIN {
		list = append(list, "--pin-file FILE")
	}
	return strings.Join(list, " ")
}

// script fills in place.sh. All that goes into it has been checked to mean nothing to a
// shell: a registration id, and names of our own.
func (c Config) script(files []File) string {
	var checks, installs strings.Builder
	owners := map[string]string{certOwner: "certd", payloadOwner: "identityd"}
	for _, f := range files {
		if f.Name == "config.toml" {
			continue // is filled in first
		}
		fmt.Fprintf(&checks, "check \"$from/%s\" %s\n", f.Name, f.Place)
		fmt.Fprintf(&installs, "install_file \"$from/%s\" %s \"$%s\" %o\n", f.Name, f.Place, owners[f.Owner], f.PlaceMode)
	}
	for _, k := range c.keys() {
		fmt.Fprintf(&checks, "key %s \"$%s\" %s/%s %s\n", k.option, k.variable, secrets, k.name, k.certificate)
		fmt.Fprintf(&installs, "install_file \"$%s\" %s/%s \"$keyd\" 600\n", k.variable, secrets, k.name)
	}
	if c.Enroll.User != "" {
		checks.WriteString("secret --password-file \"$password_file\"\n")
	}
	if c.Token.Library != "" && !c.Token.NoPIN {
		checks.WriteString("secret --pin-file \"$pin_file\"\n")
	}
	return strings.NewReplacer(
		"@DEVICE@", c.RegistrationID, "@OPTIONS@", c.Options(),
		"@CHECKS@", strings.TrimSuffix(checks.String(), "\n"), "@INSTALLS@", strings.TrimSuffix(installs.String(), "\n"),
	).Replace(placeScript)
}
