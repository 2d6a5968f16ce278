package awssim

import (
	"crypto/rsa"
	"crypto/x509"
)

// fleetOperations are the operations of fleet provisioning and what it issues:
// claims, certificates, RegisterThing, certificate providers. Methods, paths and
// members were compared with serializers.go and deserializers.go of
// aws-sdk-go-v2/service/iot v1.75.0.
var fleetOperations = []iotOperation{
	{"CreateKeysAndCertificate", "POST", "/keys-and-certificate", createKeysAndCertificate},
	{"CreateCertificateFromCsr", "POST", "/certificates", createCertificateFromCsr},
	{"CreateProvisioningClaim", "POST", "/provisioning-templates/{templateName}/provisioning-claim", createProvisioningClaim},
	{"RegisterThing", "POST", "/things", registerThing},

	{"CreateCertificateProvider", "POST", "/certificate-providers/{certificateProviderName}", createCertificateProvider},
	{"ListCertificateProviders", "GET", "/certificate-providers", listCertificateProviders},
	{"DescribeCertificateProvider", "GET", "/certificate-providers/{certificateProviderName}", describeCertificateProvider},
	{"UpdateCertificateProvider", "PUT", "/certificate-providers/{certificateProviderName}", updateCertificateProvider},
	{"DeleteCertificateProvider", "DELETE", "/certificate-providers/{certificateProviderName}", deleteCertificateProvider},
}

// fleetTemplate is the type of templates that devices may ask for.
const fleetTemplate = "FLEET_PROVISIONING"

// fleetState is what a world keeps of them. World.mu guards it.
type fleetState struct {
	ca         *amazonCA // made on first use
	provider   *certificateProvider
	claims     map[string]*provisioningClaim // by certificate id
	claimQueue []*provisioningClaim          // by expiry
	tokens     map[string]*ownership
	pending    []*ownership // by expiry
}

func newFleetState() fleetState {
	return fleetState{claims: map[string]*provisioningClaim{}, tokens: map[string]*ownership{}}
}

// newKeys makes a key pair without the world's lock.
func (c *call) newKeys(into *keyPair) (*rsa.PublicKey, error) {
	var pub *rsa.PublicKey
	var err error
	c.unlocked(func() { *into, pub, err = newKeyPair() })
	return pub, err
}

// unlocked runs f without the world's lock, which the operation holds. What was
// looked up before may have changed after.
func (c *call) unlocked(f func()) {
	c.w.mu.Unlock()
	defer c.w.mu.Lock()
	f()
}

func statusOf(active bool) string {
	if active {
		return statusActive
	}
	return statusInactive
}

func createKeysAndCertificate(c *call) (any, error) {
	active, err := c.flag("setAsActive")
	if err != nil {
		return nil, err
	}
	var keys keyPair
	pub, err := c.newKeys(&keys)
	if err != nil {
		return nil, err
	}
	cert, err := c.w.issueKeys(pub, amazonExpiry)
	if err != nil {
		return nil, err
	}
	if _, err := c.w.addCertificate(cert, statusOf(active), modeDefault, ""); err != nil {
		return nil, err
	}
	id := certificateID(cert)
	return map[string]any{
		"certificateArn": c.w.certARN(id), "certificateId": id, "certificatePem": pemOf(cert), "keyPair": keys,
	}, nil
}

// createCertificateFromCsr issues under the simulated Amazon CA, or has the
// certificate provider issue if there is one: "all API calls to
// CreateCertificateFromCsr will invoke the certificate provider" (API reference,
// CreateCertificateProvider). The caller is the principal, and there is no client.
func createCertificateFromCsr(c *call) (any, error) {
	var in struct {
		CSR string `json:"certificateSigningRequest"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	active, err := c.flag("setAsActive")
	if err != nil {
		return nil, err
	}
	csr, err := parseRequest(in.CSR)
	if err != nil {
		return nil, err
	}
	var cert *x509.Certificate
	if p := c.w.fleet.provider; p == nil {
		cert, err = c.w.issueFor(csr)
	} else {
		provider := *p
		c.unlocked(func() { cert, err = c.w.askProvider(provider, csr, in.CSR, c.caller.userID, "") })
	}
	if err != nil {
		return nil, err
	}
	if _, err := c.w.addCertificate(cert, statusOf(active), modeDefault, ""); err != nil {
		return nil, err
	}
	id := certificateID(cert)
	return map[string]any{"certificateArn": c.w.certARN(id), "certificateId": id, "certificatePem": pemOf(cert)}, nil
}
