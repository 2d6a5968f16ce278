package edge

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"mintmark/internal/pattern"
)

const (
	globalEndpoint = "https://global.azure-devices-provisioning.net"
	// edgeCAPrefix is what IoT Edge names its CA by, before the device's id:
	// edgelet/aziot-edged, lib.rs.
	edgeCAPrefix = "aziot-edge CA "
	// maxName bounds a commonName (RFC 5280, upper bounds). aziot-certd cuts off what is
	// longer, and the certificate is then another device's.
	maxName = 64
	// maxPayload is what DPS takes as one message.
	// https://learn.microsoft.com/azure/iot-dps/about-iot-dps
	maxPayload = 96 << 10
)

var (
	// Registration ids are compared without regard to case and device ids with it; so
	// only lower case is written.
	// https://learn.microsoft.com/azure/iot-dps/concepts-service
	registrationID = pattern.New(`^[a-z0-9]([a-z0-9._:-]{0,62}[a-z0-9-])?$`)
	idScope        = pattern.New(`^[0-9A-Za-z]{1,32}$`)
	hostName       = pattern.New(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?$`)
	// libraryPath has nothing in it that needs an escape anywhere.
	libraryPath = pattern.New(`^/[A-Za-z0-9/._+-]{1,255}$`)
	// A label is at most 32 bytes in PKCS #11; objects may have longer ones.
	tokenLabel = pattern.New(`^[[:print:]]{1,32}$`)
	keyLabel   = pattern.New(`^[[:print:]]{1,128}$`)
)

// reprovisioning are the modes of auto_reprovisioning_mode.
var reprovisioning = []string{"Dynamic", "AlwaysOnStartup", "OnErrorOnly"}

// CheckSettings says what of a configuration IoT Edge would not take, or would take and
// mean something else by, apart from what is in its files. Its errors name the flags of
// mintmark azure edge-config.
func (c Config) CheckSettings() error {
	_, err := c.withSettings()
	return err
}

// withDefaults fills in what is empty and refuses what CheckSettings refuses, and files
// that are not what they should be.
func (c Config) withDefaults() (Config, error) {
	c, err := c.withSettings()
	if err != nil {
		return c, err
	}
	return c, c.checkFiles()
}

func (c Config) withSettings() (Config, error) {
	if c.Now.IsZero() {
		c.Now = time.Now()
	}
	if c.GlobalEndpoint == "" {
		c.GlobalEndpoint = globalEndpoint
	}
	if c.Reprovisioning == "" {
		c.Reprovisioning = reprovisioning[0]
	}
	for _, check := range []func(*Config) error{
		(*Config).checkNames, (*Config).checkIdentity, (*Config).checkEnroll, (*Config).checkRenew, (*Config).checkToken,
	} {
		if err := check(&c); err != nil {
			return c, err
		}
	}
	return c, nil
}

func (c *Config) checkNames() error {
	switch {
	case strings.ToLower(c.RegistrationID) != c.RegistrationID:
		return fmt.Errorf("registration id %q has upper case: DPS compares without regard to case and IoT Hub with it, so that ids are lower case", c.RegistrationID)
	case !registrationID.MatchString(c.RegistrationID):
		return fmt.Errorf("registration id %q is not 1 to 64 lower-case letters, digits and - . _ : that end in a letter, a digit or -", c.RegistrationID)
	case !idScope.MatchString(c.IDScope):
		return fmt.Errorf("id scope %q is not 1 to 32 letters and digits: DPS shows it on its overview", c.IDScope)
	case c.Hostname != "" && !hostName.MatchString(c.Hostname):
		return fmt.Errorf("hostname %q is no host name of less than 64 characters", c.Hostname)
	}
	known := false
	for _, mode := range reprovisioning {
		known = known || mode == c.Reprovisioning
	}
	if !known {
		return fmt.Errorf("--reprovisioning %q is none of %s", c.Reprovisioning, strings.Join(reprovisioning, ", "))
	}
	u, err := secureURL("--global-endpoint", c.GlobalEndpoint)
	if err != nil {
		return err
	}
	if strings.Trim(u.Path, "/") != "" {
		return fmt.Errorf("--global-endpoint %q has a path: it is a host only", c.GlobalEndpoint)
	}
	c.GlobalEndpoint = strings.TrimRight(c.GlobalEndpoint, "/")
	return nil
}

func (c *Config) checkIdentity() error {
	switch c.Identity {
	case ByFile, ByPKCS11:
		if len(c.Chain) == 0 {
			return fmt.Errorf("an identity by %s needs the device's certificate with its chain (--cert)", c.Identity)
		}
	case ByEST:
		if len(c.Chain) > 0 {
			return errors.New("an identity by est comes without a certificate: IoT Edge gets it from the EST server")
		}
		if c.Enroll.URL == "" {
			return errors.New("an identity by est needs the URL of its label (--est-url)")
		}
	case "":
		return errors.New("no identity is given: file, est or pkcs11")
	default:
		return fmt.Errorf("--identity %q is none of file, est and pkcs11", c.Identity)
	}
	if c.Identity == ByPKCS11 && c.Token.Object == "" {
		return errors.New("an identity by pkcs11 needs the token and the label of its key there (--pkcs11-object)")
	}
	if c.Identity != ByPKCS11 && c.Token.Object != "" {
		return fmt.Errorf("the identity's key is in the token, but the identity is by %s", c.Identity)
	}
	return nil
}

func (c *Config) checkEnroll() error {
	e := &c.Enroll
	if !c.byEST() {
		if e.URL != "" || len(e.Trust) > 0 || e.User != "" || len(e.Bootstrap) > 0 || len(e.Certificate) > 0 {
			return fmt.Errorf("EST is described, but nothing comes by it: the identity is by %s, and there is no Edge CA", c.Identity)
		}
		return nil
	}
	if c.Identity != ByEST && e.URL != "" {
		return fmt.Errorf("the URL of a label for the identity is given, but the identity is by %s: that of the Edge CA is another", c.Identity)
	}
	var err error
	if c.Identity == ByEST {
		if e.URL, err = estURL("--est-url", e.URL); err != nil {
			return err
		}
	}
	if c.EdgeCA != "" {
		if c.EdgeCA, err = estURL("--edge-ca-url", c.EdgeCA); err != nil {
			return err
		}
		if c.EdgeCA == e.URL {
			return errors.New("the Edge CA has the same label as the identity: what a gateway signs must not be under a CA that a cloud trusts, so that the Edge CA has a label and an issuing CA of its own")
		}
		if n := len(edgeCAPrefix) + len(c.RegistrationID); n > maxName {
			return fmt.Errorf("the Edge CA would be named %q, which is %d characters long: IoT Edge cuts off what is more than %d, so that a device with an Edge CA by EST has a registration id of at most %d",
				edgeCAPrefix+c.RegistrationID, n, maxName, maxName-len(edgeCAPrefix))
		}
	}
	switch {
	case len(e.Trust) == 0:
		return errors.New("EST needs the trust anchors of the server (--est-ca): IoT Edge would take any that the system trusts, and none of ours")
	case len(e.Bootstrap) > 0 && len(e.Certificate) > 0:
		return errors.New("a bootstrap certificate and an EST identity that is there already exclude each other")
	case e.User == "" && len(e.Bootstrap) == 0 && len(e.Certificate) == 0:
		return errors.New("EST needs a user, a bootstrap certificate or an EST identity to authenticate by (--est-user, --bootstrap-cert, --est-cert)")
	case e.User != "" && !userName(e.User):
		return fmt.Errorf("user %q holds a character that HTTP Basic cannot carry in a name, as a colon, or more than 255", e.User)
	}
	return nil
}

func (c *Config) checkRenew() error {
	given := c.Renew != (Renew{})
	switch {
	case given && !c.byEST():
		return fmt.Errorf("renewal is for certificates by EST, and nothing comes by it: the identity is by %s", c.Identity)
	case given && c.Identity == ByEST && c.Individual && c.EdgeCA == "":
		return errors.New("a device with an individual enrollment must not renew its certificate: DPS would refuse the next one")
	}
	if c.Renew.Threshold == 0 {
		c.Renew.Threshold = 80
	}
	if c.Renew.Retry == 0 {
		c.Renew.Retry = 4
	}
	for _, percent := range []int{c.Renew.Threshold, c.Renew.Retry} {
		if percent < 1 || percent > 99 {
			return fmt.Errorf("--renew-at %d %% and --renew-retry %d %%: both are 1 to 99 percent of the validity period", c.Renew.Threshold, c.Renew.Retry)
		}
	}
	if left := 100 - c.Renew.Threshold; c.Renew.Retry > left {
		return fmt.Errorf("a renewal at %d %% that fails would be tried again after %d %%, when the certificate has expired", c.Renew.Threshold, c.Renew.Retry)
	}
	return nil
}

func (c *Config) checkToken() error {
	t := c.Token
	if t == (Token{}) {
		return nil
	}
	switch {
	case t.Library == "":
		return errors.New("a token needs the path of its PKCS #11 library (--pkcs11-lib)")
	case !libraryPath.MatchString(t.Library):
		return fmt.Errorf("PKCS #11 library %q is no absolute path of letters, digits and / . _ + -", t.Library)
	case (t.Label == "") == (t.Slot == nil):
		return errors.New("a token is named either by its label or by its slot (--pkcs11-token, --pkcs11-slot)")
	case t.Label != "" && !tokenLabel.MatchString(t.Label):
		return fmt.Errorf("token label %q is not 1 to 32 characters that can be printed", t.Label)
	case t.Object != "" && !keyLabel.MatchString(t.Object):
		return fmt.Errorf("key label %q is not 1 to 128 characters that can be printed", t.Object)
	case t.BootstrapObject != "" && !keyLabel.MatchString(t.BootstrapObject):
		return fmt.Errorf("key label %q is not 1 to 128 characters that can be printed", t.BootstrapObject)
	case t.BootstrapObject != "" && len(c.Enroll.Bootstrap) == 0 && len(c.Enroll.Certificate) == 0:
		return errors.New("the key of the bootstrap certificate is in the token, but there is no such certificate")
	}
	return nil
}

func (c *Config) checkFiles() error {
	if len(c.Payload) > maxPayload {
		return fmt.Errorf("the payload is %d bytes long, and DPS takes %d", len(c.Payload), maxPayload)
	}
	if len(c.Payload) > 0 && !json.Valid(c.Payload) {
		return errors.New("the payload is no JSON")
	}
	return c.checkCertificates()
}

// secureURL parses a URL that is nothing but https, host and path.
func secureURL(what, text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "":
		return nil, fmt.Errorf("%s %q is no URL as in https://ca.example.org:8443/.well-known/est/edge", what, text)
	case u.Scheme != "https":
		return nil, fmt.Errorf("%s %q is not https", what, text)
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(text, "#"):
		return nil, fmt.Errorf("%s %q has more than host and path", what, text)
	}
	return u, nil
}

// estURL checks the URL of a label, to which IoT Edge appends /simpleenroll and
// /cacerts: a slash at its end would be two.
func estURL(what, text string) (string, error) {
	u, err := secureURL(what, text)
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(u.Path, "/.well-known/est") || strings.HasSuffix(strings.TrimRight(u.Path, "/"), "enroll") {
		return "", fmt.Errorf("%s %q does not end in /.well-known/est/LABEL, to which IoT Edge appends /simpleenroll", what, text)
	}
	return strings.TrimRight(text, "/"), nil
}

// userName reports whether HTTP Basic can carry a name (RFC 7617, Section 2).
func userName(name string) bool {
	return utf8.ValidString(name) && len(name) <= 255 && !strings.ContainsFunc(name, func(r rune) bool { return r == ':' || unicode.IsControl(r) })
}
