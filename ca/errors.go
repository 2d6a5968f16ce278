package ca

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

var (
	// ErrKeyMismatch is returned when the opened key is not the key of the
	// authority's certificate.
	ErrKeyMismatch = errors.New("the key is not the key of the CA certificate")

	// ErrNoSigner is returned by what signs when the authority was made
	// without a signer: its key is kept elsewhere.
	ErrNoSigner = errors.New("the key of this authority is not here")

	// ErrNotRecorded is returned by Issue before Recorded.
	ErrNotRecorded = errors.New("the intent to issue has not been recorded")

	// ErrSpent is returned by Issue when the token was used before, whether
	// that use succeeded or not.
	ErrSpent = errors.New("the prepared certificate has been used already")

	// ErrOutlivesIssuer is what an *OutlivesIssuerError is, for errors.Is.
	ErrOutlivesIssuer = errors.New("the certificate would outlive its issuer")
)

// OutlivesIssuerError reports a certificate that would be valid for longer
// than the certificate of its issuer.
type OutlivesIssuerError struct {
	NotAfter time.Time // of the certificate
	Issuer   time.Time // notAfter of the issuer
}

func (e *OutlivesIssuerError) Error() string {
	return fmt.Sprintf("%v: notAfter %s is after the issuer's %s",
		ErrOutlivesIssuer, e.NotAfter.UTC().Format(time.RFC3339), e.Issuer.UTC().Format(time.RFC3339))
}

// Is makes errors.Is(err, ErrOutlivesIssuer) hold.
func (e *OutlivesIssuerError) Is(target error) bool { return target == ErrOutlivesIssuer }

// TemplateError reports a template that the engine refuses to build, other
// than for its lifetime or for lint.
type TemplateError struct {
	Field  string // what of the certificate is wrong, as in "serial number"
	Reason string
}

func (e *TemplateError) Error() string { return e.Field + ": " + e.Reason }

func refuse(field, format string, args ...any) error {
	return &TemplateError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// Finding is one lint that did not pass.
type Finding struct {
	Lint   string // name in zlint, as in "e_subject_common_name_max_length"
	Result string // "notice", "warn", "error" or "fatal"
	Detail string
}

// LintError reports the findings that refuse a certificate or a CRL.
type LintError struct {
	Findings []Finding
}

func (e *LintError) Error() string {
	var b strings.Builder
	b.WriteString("lint refuses it: ")
	for i, f := range e.Findings {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s (%s)", f.Lint, f.Result)
		if f.Detail != "" {
			fmt.Fprintf(&b, ": %s", f.Detail)
		}
	}
	return b.String()
}
