package awssim

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"time"
)

// maxSameSubject is how many CA certificates with one subject an account may
// register (API reference, RegisterCACertificate).
const maxSameSubject = 10

// Certificate modes (API reference, CertificateDescription).
const (
	modeDefault = "DEFAULT"
	modeSNIOnly = "SNI_ONLY"
)

type caCertificate struct {
	seq        int64
	id         string
	cert       *x509.Certificate
	active     bool
	autoReg    bool
	mode       string
	config     *registrationConfig
	created    time.Time
	modified   time.Time
	version    int
	generation string
}

type registrationConfig struct {
	TemplateBody string `json:"templateBody,omitempty"`
	RoleARN      string `json:"roleArn,omitempty"`
	TemplateName string `json:"templateName,omitempty"`
}

type tag struct {
	Key   string `json:"Key"`
	Value string `json:"Value"`
}

// getRegistrationCode answers the code of this account and region. It stays the
// same until it is deleted (API reference, GetRegistrationCode).
func getRegistrationCode(c *call) (any, error) {
	if c.w.code == "" {
		var b [32]byte
		rand.Read(b[:])
		c.w.code = hex.EncodeToString(b[:])
	}
	return map[string]string{"registrationCode": c.w.code}, nil
}

func deleteRegistrationCode(c *call) (any, error) {
	if c.w.code == "" {
		return nil, notFound("There is no registration code")
	}
	c.w.code = ""
	return nil, nil
}

func registerCACertificate(c *call) (any, error) {
	var in struct {
		CACertificate           string              `json:"caCertificate"`
		VerificationCertificate string              `json:"verificationCertificate"`
		CertificateMode         string              `json:"certificateMode"`
		RegistrationConfig      *registrationConfig `json:"registrationConfig"`
		Tags                    []tag               `json:"tags"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	setActive, err := c.flag("setAsActive")
	if err != nil {
		return nil, err
	}
	autoReg, err := c.flag("allowAutoRegistration")
	if err != nil {
		return nil, err
	}
	ca, err := parseCertificate("caCertificate", in.CACertificate)
	if err != nil {
		return nil, err
	}
	// API reference, RegisterCACertificate, certificateMode and
	// verificationCertificate: DEFAULT needs one, SNI_ONLY must have none.
	switch in.CertificateMode {
	case "", modeDefault:
		in.CertificateMode = modeDefault
		if in.VerificationCertificate == "" {
			return nil, invalid("verificationCertificate must not be empty when certificateMode is DEFAULT")
		}
	case modeSNIOnly:
		if in.VerificationCertificate != "" {
			return nil, invalid("verificationCertificate must be empty when certificateMode is SNI_ONLY")
		}
	default:
		return nil, invalid("certificateMode must be DEFAULT or SNI_ONLY, not %q", in.CertificateMode)
	}
	if err := checkCA(ca, c.w.now()); err != nil {
		return nil, err
	}
	if in.CertificateMode == modeDefault {
		ver, err := parseCertificate("verificationCertificate", in.VerificationCertificate)
		if err != nil {
			return nil, err
		}
		if err := checkVerification(ver, ca, c.w.code, c.w.now()); err != nil {
			return nil, err
		}
	}
	id := certificateID(ca)
	arn := c.w.arn("iot", "cacert/"+id)
	if _, ok := c.w.cas[id]; ok {
		return nil, alreadyExists(id, arn, "CA Certificate is already registered")
	}
	same := 0
	for _, other := range c.w.cas {
		if bytes.Equal(other.cert.RawSubject, ca.RawSubject) {
			same++
		}
	}
	if same >= maxSameSubject {
		return nil, iotError("LimitExceededException", "This account has already registered %d CA certificates with the same subject", same)
	}
	if err := room(c.w.cas, "CA certificates"); err != nil {
		return nil, err
	}
	if err := c.w.checkRegistrationConfig(in.RegistrationConfig); err != nil {
		return nil, err
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	if in.CertificateMode == modeDefault && !c.w.sim.claim(c.w, id) {
		// DEFAULT: one account per Region (API reference, CertificateDescription,
		// certificateMode). The code of this refusal is not documented.
		return nil, invalidCert("The CA certificate is already registered in DEFAULT mode by another account in this Region")
	}
	now := c.w.now()
	c.w.cas[id] = &caCertificate{
		seq: c.w.next(), id: id, cert: ca, active: setActive, autoReg: autoReg, mode: in.CertificateMode,
		config: in.RegistrationConfig, created: now, modified: now, version: 1, generation: randomID(),
	}
	c.w.setTags(arn, in.Tags)
	return map[string]string{"certificateArn": arn, "certificateId": id}, nil
}

// claim takes a CA in DEFAULT mode for one account of a region.
func (s *Sim) claim(w *world, id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := w.region + "/" + id
	if owner, ok := s.claims[key]; ok && owner != w.account.ID {
		return false
	}
	s.claims[key] = w.account.ID
	return true
}

func (s *Sim) unclaim(w *world, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if key := w.region + "/" + id; s.claims[key] == w.account.ID {
		delete(s.claims, key)
	}
}

// checkRegistrationConfig applies the bounds of the type RegistrationConfig (API
// reference) and the rule that a template is named or given, not both.
func (w *world) checkRegistrationConfig(rc *registrationConfig) error {
	if rc == nil {
		return nil
	}
	if rc.RoleARN != "" && (len(rc.RoleARN) < 20 || len(rc.RoleARN) > 2048) {
		return invalid("roleArn must have 20 to 2048 characters")
	}
	switch {
	case rc.TemplateBody != "" && rc.TemplateName != "":
		return invalid("registrationConfig must have a templateBody or a templateName, not both")
	case rc.TemplateBody != "":
		if rc.RoleARN == "" {
			return invalid("registrationConfig with a templateBody needs a roleArn")
		}
		_, err := parseTemplate(rc.TemplateBody)
		return err
	case rc.TemplateName != "":
		t, ok := w.templates[rc.TemplateName]
		if !ok {
			return notFound("The provisioning template %s does not exist", rc.TemplateName)
		}
		if t.kind != "JITP" {
			return invalid("The provisioning template %s is of type %s, not JITP", rc.TemplateName, t.kind)
		}
		return nil
	}
	return invalid("registrationConfig must have a templateBody or a templateName")
}

func (w *world) findCA(id string) (*caCertificate, error) {
	if ca, ok := w.cas[id]; ok {
		return ca, nil
	}
	return nil, notFound("CA Certificate %s does not exist", id)
}

func (ca *caCertificate) status() string {
	if ca.active {
		return "ACTIVE"
	}
	return "INACTIVE"
}

func describeCACertificate(c *call) (any, error) {
	ca, err := c.w.findCA(c.path["certificateId"])
	if err != nil {
		return nil, err
	}
	auto := "DISABLE"
	if ca.autoReg {
		auto = "ENABLE"
	}
	out := map[string]any{"certificateDescription": map[string]any{
		"certificateArn": c.w.arn("iot", "cacert/"+ca.id), "certificateId": ca.id, "status": ca.status(),
		"certificatePem": pemOf(ca.cert), "ownedBy": c.w.account.ID, "creationDate": epoch(ca.created),
		"autoRegistrationStatus": auto, "lastModifiedDate": epoch(ca.modified), "customerVersion": ca.version,
		"generationId": ca.generation, "certificateMode": ca.mode, "validity": validityOf(ca.cert),
	}}
	if ca.config != nil {
		out["registrationConfig"] = ca.config
	}
	return out, nil
}

func listCACertificates(c *call) (any, error) {
	ascending, err := c.flag("isAscendingOrder")
	if err != nil {
		return nil, err
	}
	var list []*caCertificate
	for _, ca := range sorted(c.w.cas, func(ca *caCertificate) int64 { return ca.seq }) {
		if name := c.query.Get("templateName"); name == "" || ca.config != nil && ca.config.TemplateName == name {
			list = append(list, ca)
		}
	}
	page, marker, err := paginate(c, list, func(ca *caCertificate) int64 { return ca.seq }, "pageSize", "marker", ascending)
	if err != nil {
		return nil, err
	}
	out := []map[string]any{}
	for _, ca := range page {
		out = append(out, map[string]any{
			"certificateArn": c.w.arn("iot", "cacert/"+ca.id), "certificateId": ca.id,
			"status": ca.status(), "creationDate": epoch(ca.created),
		})
	}
	return withMarker(map[string]any{"certificates": out}, "nextMarker", marker), nil
}

func updateCACertificate(c *call) (any, error) {
	var in struct {
		RegistrationConfig     *registrationConfig `json:"registrationConfig"`
		RemoveAutoRegistration bool                `json:"removeAutoRegistration"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	ca, err := c.w.findCA(c.path["certificateId"])
	if err != nil {
		return nil, err
	}
	next := *ca
	switch v := c.query.Get("newStatus"); v {
	case "":
	case "ACTIVE", "INACTIVE":
		next.active = v == "ACTIVE"
	default:
		return nil, invalid("newStatus must be ACTIVE or INACTIVE, not %q", v)
	}
	switch v := c.query.Get("newAutoRegistrationStatus"); v {
	case "":
	case "ENABLE", "DISABLE":
		next.autoReg = v == "ENABLE"
	default:
		return nil, invalid("newAutoRegistrationStatus must be ENABLE or DISABLE, not %q", v)
	}
	if err := c.w.checkRegistrationConfig(in.RegistrationConfig); err != nil {
		return nil, err
	}
	if in.RegistrationConfig != nil {
		next.config = in.RegistrationConfig
	}
	if in.RemoveAutoRegistration {
		next.config = nil
	}
	next.modified = c.w.now()
	next.version++
	*ca = next
	return nil, nil
}

// deleteCACertificate needs an INACTIVE CA (AWS IoT developer guide,
// manage-your-CA-certs). Device certificates stay registered.
func deleteCACertificate(c *call) (any, error) {
	ca, err := c.w.findCA(c.path["certificateId"])
	if err != nil {
		return nil, err
	}
	if ca.active {
		return nil, iotError("CertificateStateException", "The CA certificate must be INACTIVE before it is deleted")
	}
	delete(c.w.cas, ca.id)
	delete(c.w.tags, c.w.arn("iot", "cacert/"+ca.id))
	c.w.sim.unclaim(c.w, ca.id)
	return nil, nil
}

func pemOf(cert *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
}

func validityOf(cert *x509.Certificate) map[string]any {
	return map[string]any{"notBefore": epoch(cert.NotBefore), "notAfter": epoch(cert.NotAfter)}
}

// withMarker adds the continuation of a page, if there is one.
func withMarker(m map[string]any, key, marker string) map[string]any {
	if marker != "" {
		m[key] = marker
	}
	return m
}
