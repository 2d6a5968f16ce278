package issuer

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"

	"mintmark/internal/ledger"
)

// WouldSign returns the names of the certificate that a request in the queue
// would get: the subject (RFC 4514) and the alternative names with their kinds,
// as a webhook is told. They are not those of the request where the profile takes
// only some or ChangeSubjectName asks for others, and whoever decides is to see
// no less than what would be signed. It fails where nothing would be, because the
// profile has changed since.
func (ra *RA) WouldSign(e ledger.Enrollment) (subject string, names []string, err error) {
	p := ra.Profiles[e.Profile]
	if p == nil {
		return "", nil, fmt.Errorf("%w: %q", ErrNoProfile, e.Profile)
	}
	csr, err := parseRequest(e.CSR)
	if err != nil {
		return "", nil, err
	}
	// Where that is not allowed, the request has not come into the queue.
	if err := csr.rename(&Request{ChangeNames: true}); err != nil {
		return "", nil, err
	}
	id := identity{}
	if id.subject, id.values, err = p.buildSubject(csr.names.Subject); err != nil {
		return "", nil, err
	}
	template, err := p.template(csr, id, "", new(big.Int), ra.Now())
	if err != nil {
		return "", nil, err
	}
	var sequence pkix.RDNSequence
	if _, err := asn1.Unmarshal(id.subject, &sequence); err != nil {
		return "", nil, fmt.Errorf("parsing a subject that was encoded here: %w", err)
	}
	var name pkix.Name
	name.FillFromRDNSequence(&sequence)
	return name.String(), alternativeNames(template), nil
}
