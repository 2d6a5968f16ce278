package est

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"mintmark/issuer"
)

// Rules of the wire, beside those of the issuer. They are a closed set: metrics
// carry them as labels, refusals name them, docs/rfc.md lists them.
const (
	ruleHTTPS         = "https"
	rulePath          = "path"
	ruleLabel         = "label"
	ruleMethod        = "method"
	ruleOperation     = "operation"
	ruleMediaType     = "media-type"
	ruleSize          = "size"
	ruleEncoding      = "encoding"
	ruleNoCredential  = "no-credential"
	ruleCredential    = "credential"
	ruleAttempts      = "attempts"
	ruleForeign       = "foreign-certificate"
	ruleOwnProfile    = "own-profile"
	ruleExpired       = "certificate-expired"
	ruleNotYetValid   = "certificate-not-yet-valid"
	ruleMaker         = "maker-certificate"
	ruleMakerDevice   = "maker-device"
	ruleMakerRenewal  = "maker-renewal"
	ruleClaimLabel    = "claim-label"
	ruleClaimRenewal  = "claim-renewal"
	ruleNoCertificate = "no-certificate"
	ruleDisabled      = "label-disabled"
	ruleAnchors       = "anchors"
	ruleCancelled     = "cancelled"

	ruleIssuer         = "certificate-issuer"
	ruleRA             = "registration-authority"
	ruleMakerSubject   = "maker-subject"
	ruleMakerRevoked   = "maker-revoked"
	ruleMakerStanding  = "maker-standing"
	ruleBoth           = "both"
	ruleAttributes     = "csr-attributes"
	ruleProof          = "proof-of-possession"
	ruleProofMissing   = "proof-missing"
	ruleProofTLS       = "proof-connection"
	ruleKeygenApproval = "keygen-approval"
	ruleLimitIdentity  = "limit-identity"
	ruleLimitAddress   = "limit-address"
	ruleLimitLabel     = "limit-label"
	ruleInternal       = "internal"
)

// ruleUnknown is the issuer's rule that a certificate under our own CA must be
// in the ledger.
const ruleUnknown = "certificate-unknown"

// failure is an answer other than success. Its text is for the client.
type failure struct {
	status int
	rule   string
	text   string
	allow  string        // Allow header of a 405
	retry  time.Duration // Retry-After of a 202, 429 or 503
	err    error         // cause for the log

	recorded bool // the issuer has put it on record
}

func (f *failure) Error() string {
	if f.err != nil {
		return fmt.Sprintf("%s: %s: %v", f.rule, f.text, f.err)
	}
	return fmt.Sprintf("%s: %s", f.rule, f.text)
}

func (f *failure) Unwrap() error { return f.err }

func fail(status int, rule, format string, args ...any) *failure {
	return &failure{status: status, rule: rule, text: fmt.Sprintf(format, args...)}
}

// defaultRetry is the Retry-After of a refusal that does not say its own.
const defaultRetry = 30 * time.Second

// toFailure chooses the status for an error. RFC 7030, Section 4.2.3: errors
// are 4xx or 5xx.
func toFailure(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	var r *issuer.Refusal
	if !errors.As(err, &r) {
		return &failure{status: http.StatusInternalServerError, rule: ruleInternal, err: err}
	}
	f = &failure{rule: r.Rule, text: r.Text, err: r.Err, recorded: r.Recorded}
	switch r.Kind {
	case issuer.Malformed:
		f.status = http.StatusBadRequest
	case issuer.Unauthenticated:
		f.status = http.StatusUnauthorized
	case issuer.Forbidden:
		f.status = http.StatusForbidden
	case issuer.Conflict:
		f.status = http.StatusConflict
	case issuer.Pending:
		f.status = http.StatusAccepted
		f.retry = r.RetryAfter
	case issuer.Unavailable:
		f.status = http.StatusServiceUnavailable
		f.retry = r.RetryAfter
	default:
		f.status = http.StatusInternalServerError
		f.rule, f.err = ruleInternal, fmt.Errorf("refusal of unknown kind %d: %w", r.Kind, err)
	}
	return f
}
