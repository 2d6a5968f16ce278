package adminhttp

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"mintmark/admin"
	"mintmark/ca"
	"mintmark/internal/access"
	"mintmark/internal/keystore"
	"mintmark/internal/keystore/token"
	"mintmark/internal/ledger"
	"mintmark/issuer"
)

// failure is an answer that the API itself gives.
type failure struct {
	status int
	rule   string
	text   string // for the caller
	err    error  // for the log; may be nil
}

func (f *failure) Error() string {
	if f.err != nil && f.err.Error() != f.text {
		return fmt.Sprintf("%s: %s: %v", f.rule, f.text, f.err)
	}
	return f.rule + ": " + f.text
}

func (f *failure) Unwrap() error { return f.err }

func fail(status int, rule, format string, args ...any) *failure {
	return &failure{status: status, rule: rule, text: fmt.Sprintf(format, args...)}
}

// shown is an internal failure whose text the administrator may read: the
// errors of ca, keystore and awsreg name keys, files and calls, and hold no
// secrets.
func shown(err error) *failure {
	return &failure{status: http.StatusInternalServerError, rule: "failed", text: err.Error(), err: err}
}

var kinds = map[issuer.Kind]int{
	issuer.Malformed:       http.StatusBadRequest,
	issuer.Unauthenticated: http.StatusForbidden, // there is nothing to authenticate with
	issuer.Forbidden:       http.StatusForbidden,
	issuer.Conflict:        http.StatusConflict,
	issuer.Unavailable:     http.StatusServiceUnavailable,
}

// denials are the statuses of what package access denies.
var denials = map[string]int{
	access.RuleOwn:       http.StatusForbidden,
	access.RuleRole:      http.StatusForbidden,
	access.RuleKey:       http.StatusForbidden,
	access.RuleSignature: http.StatusForbidden,
	access.RuleState:     http.StatusConflict,
	access.RuleExpired:   http.StatusConflict,
	access.RulePlan:      http.StatusConflict,
	access.RuleLimit:     http.StatusConflict,
}

// describe says what an error is to the caller.
func describe(err error) (int, admin.Error) {
	if r, ok := refusalOf(err); ok {
		return kinds[r.Kind], admin.Error{Rule: r.Rule, Text: r.Text, RetryAfter: r.RetryAfter}
	}
	var outlives *ca.OutlivesIssuerError
	var template *ca.TemplateError
	var lint *ca.LintError
	var tooLarge *http.MaxBytesError
	var denial *access.Denial
	var later interface{ RetryAfter() time.Duration } // a key that is away
	simple := func(status int, rule, text string) (int, admin.Error) {
		return status, admin.Error{Rule: rule, Text: text}
	}
	switch {
	case errors.As(err, &outlives):
		return simple(http.StatusConflict, "issuer-lifetime", outlives.Error()+": choose a shorter validity")
	case errors.As(err, &template):
		return simple(http.StatusBadRequest, "template", template.Error())
	case errors.As(err, &lint):
		return simple(http.StatusBadRequest, "lint", lint.Error())
	case errors.As(err, &denial):
		return simple(denials[denial.Rule], denial.Rule, denial.Text)
	case errors.As(err, &tooLarge):
		return simple(http.StatusRequestEntityTooLarge, "request-size", fmt.Sprintf("the request is larger than %d bytes", tooLarge.Limit))
	case errors.Is(err, issuer.ErrNoAuthority):
		return simple(http.StatusNotFound, "authority", issuer.ErrNoAuthority.Error()+": mintmark ca list shows them")
	case errors.Is(err, issuer.ErrNoProfile):
		return simple(http.StatusNotFound, "profile", issuer.ErrNoProfile.Error()+": mintmark.yaml defines them under profiles")
	case errors.Is(err, ledger.ErrNotFound):
		return simple(http.StatusNotFound, "not-found", ledger.ErrNotFound.Error())
	case errors.Is(err, ledger.ErrAuthorities):
		return simple(http.StatusForbidden, "authority-revocation", ledger.ErrAuthorities.Error()+": name the serial number")
	case errors.Is(err, ledger.ErrUnavailable):
		return simple(http.StatusServiceUnavailable, "ledger", "the server cannot record anything at the moment")
	case errors.Is(err, ledger.ErrBusy):
		return simple(http.StatusServiceUnavailable, "lease", "another server does this at the moment")
	case errors.Is(err, ca.ErrNoSigner):
		return simple(http.StatusConflict, "key-elsewhere", ca.ErrNoSigner.Error()+": it can be shown, not signed with")
	case errors.Is(err, ca.ErrKeyMismatch), errors.Is(err, keystore.ErrMismatch):
		return simple(http.StatusConflict, "key-mismatch", ca.ErrKeyMismatch.Error())
	case errors.Is(err, keystore.ErrExists):
		return simple(http.StatusConflict, "key-exists", keystore.ErrExists.Error()+", and it is never overwritten: name another with a key URI, or import the authority with it")
	case errors.Is(err, keystore.ErrNotFound):
		return simple(http.StatusConflict, "key-not-found", keystore.ErrNotFound.Error()+": check the key URI")
	case errors.Is(err, keystore.ErrPassphrase):
		return simple(http.StatusServiceUnavailable, "key-passphrase", keystore.ErrPassphrase.Error()+": check keys.passphrase_file in mintmark.yaml")
	case errors.Is(err, keystore.ErrPIN), errors.Is(err, token.ErrPIN):
		return simple(http.StatusServiceUnavailable, "key-pin", keystore.ErrPIN.Error()+", and it is not tried again, because tokens lock after a few wrong ones: put it right where keys.tokens says, then run mintmark hsm unlock --again")
	case errors.Is(err, token.ErrPolicy):
		return simple(http.StatusConflict, "key-policy", err.Error())
	case errors.As(err, &later):
		return http.StatusServiceUnavailable, admin.Error{Rule: "key-unavailable", Text: err.Error(), RetryAfter: max(later.RetryAfter(), time.Second)}
	}
	var f *failure
	if errors.As(err, &f) {
		return simple(f.status, f.rule, f.text)
	}
	return simple(http.StatusInternalServerError, admin.Internal, "internal error")
}
