package est

import (
	"slices"
	"testing"
)

// cell is one request of the matrix.
type cell struct {
	op    string
	label matrixLabel
	state string // of the certificate
	way   string // of the password
}

// matrixListed are the states whose devices are in the inventory.
var matrixListed = []string{"own", "grace", "maker"}

func (c cell) in(states ...string) bool { return slices.Contains(states, c.state) }

func (c cell) reenroll() bool { return c.op == "simplereenroll" }

// represents: a registration authority renews for a device.
func (c cell) represents() bool { return c.state == "ra" && c.reenroll() }

// admits: certificates of ours authenticate. That of another profile has no
// credential of a work order, and nothing to renew.
func (l matrixLabel) admits(state string) bool {
	return l.own && !(state == "other" && l.rule == "order")
}

// good: the certificate authenticates at this label and operation.
func (c cell) good() bool {
	l := c.label
	switch c.state {
	case "own", "other":
		return l.admits(c.state)
	case "grace":
		return l.own && l.grace && c.op != "serverkeygen"
	case "maker":
		return l.maker && !c.reenroll()
	case "ra":
		return l.ras
	case "claim":
		// It is that of a work order at one label.
		return l.name == "order" && !c.reenroll()
	}
	return false
}

// renewal: the rules of renewals hold, and not those of enrollments.
func (c cell) renewal() bool { return c.good() && (c.in("own", "grace") || c.represents()) }

// takes: the label takes passwords for this operation at all.
func (c cell) takes() bool { return c.label.passwords || c.label.oneTime || c.label.rule == "order" }

// alone: the password would do without a certificate.
func (c cell) alone() bool { return c.takes() && !c.label.both && !c.reenroll() }

// asked: the password is looked at.
func (c cell) asked() bool {
	switch {
	case c.good() && c.renewal():
		return c.label.renewalPassword
	case c.good():
		return c.label.both
	case c.state == "none":
		return c.alone()
	case c.in("forged"):
		return false
	}
	return c.alone() && c.way != "none"
}

// right: the password is one that the label knows.
func (c cell) right() bool {
	switch c.way {
	case "right":
		return c.label.passwords
	case "one-time", "one-time-used":
		return c.label.oneTime
	case "order":
		return c.label.rule == "order"
	}
	return false
}

// bad: a certificate that does not authenticate decides the answer.
func (c cell) bad() bool { return c.state != "none" && !c.good() && !c.asked() }

// rule is the one that decides about the device.
func (c cell) rule() string {
	if c.renewal() && c.label.renewalRule != "" {
		return c.label.renewalRule
	}
	return c.label.rule
}

// oracle says what must come out, and why: the first reason that holds. It is
// written from RFC 7030 and the documentation of labels, and calls nothing of what it
// judges.
var oracle = []struct {
	because string
	when    func(c cell) bool
	status  int
	rule    string
}{
	// The certificate: RFC 7030, Section 3.3.2.
	{"a certificate that the ledger does not know is an alarm, whatever comes beside it", func(c cell) bool { return c.in("forged") }, 403, "certificate-unknown"},
	{"a label that wants both does not look at a password alone", func(c cell) bool { return c.state == "none" && c.label.both }, 403, "no-certificate"},
	{"a renewal needs a certificate", func(c cell) bool { return c.state == "none" && c.reenroll() }, 403, "no-certificate"},
	{"the label takes no passwords", func(c cell) bool { return c.state == "none" && !c.takes() }, 403, "no-certificate"},
	{"a revoked certificate is revoked everywhere", func(c cell) bool { return c.bad() && c.in("revoked") }, 403, "certificate-revoked"},
	{"a server or CA is no device", func(c cell) bool { return c.bad() && c.in("server", "ca") }, 403, "certificate-purpose"},
	{"own certificates are not admitted here", func(c cell) bool {
		return c.bad() && c.in("own", "other", "expired", "grace", "future") && !c.label.admits(c.state)
	}, 403, "own-profile"},
	{"a certificate from the future is never valid", func(c cell) bool { return c.bad() && c.in("future") }, 403, "certificate-not-yet-valid"},
	{"an expired certificate is over, out of grace or where there is none", func(c cell) bool { return c.bad() && c.in("expired", "grace") }, 403, "certificate-expired"},
	{"a claim counts where its order is", func(c cell) bool { return c.bad() && c.in("claim") && c.label.rule != "order" }, 403, "claim-label"},
	{"a claim does not renew", func(c cell) bool { return c.bad() && c.in("claim") && c.reenroll() }, 403, "claim-renewal"},
	{"a claim is that of another label's order", func(c cell) bool { return c.bad() && c.in("claim") }, 403, "order-label"},
	{"registration authorities are listed", func(c cell) bool { return c.bad() && c.in("ra", "ra-unlisted") }, 403, "registration-authority"},
	{"no maker is trusted here, nor any stranger", func(c cell) bool { return c.bad() && !c.label.maker }, 403, "foreign-certificate"},
	{"a stranger is no maker, and a maker's certificate must be valid and a device's", func(c cell) bool {
		return c.bad() && c.in("foreign", "maker-expired", "maker-eku", "maker-ca")
	}, 403, "maker-certificate"},
	{"the maker's subject is not of this label", func(c cell) bool { return c.bad() && c.in("maker-subject") }, 403, "maker-subject"},
	{"the maker has revoked it", func(c cell) bool { return c.bad() && c.in("maker-revoked") }, 403, "maker-revoked"},
	{"its standing is unknown", func(c cell) bool { return c.bad() && c.in("maker-unknown") }, 503, "maker-standing"},
	{"a maker's certificate enrolls and never renews", func(c cell) bool { return c.bad() && c.in("maker") }, 403, "maker-renewal"},

	// The password: Section 3.2.3.
	{"a password is asked for and there is none", func(c cell) bool { return c.asked() && c.way == "none" }, 401, "no-credential"},
	{"the password is wrong here", func(c cell) bool { return c.asked() && !c.right() }, 401, "credential"},

	// The rule of the label.
	{"a one-time secret is used once", func(c cell) bool { return c.asked() && c.way == "one-time-used" }, 403, "secret-used"},
	{"the inventory does not list it", func(c cell) bool { return c.rule() == "inventory" && !slices.Contains(matrixListed, c.state) }, 403, "device-unlisted"},
	{"the webhook denies", func(c cell) bool { return c.rule() == "deny" }, 403, "webhook-denied"},
	{"nothing speaks against it", func(cell) bool { return true }, 200, ""},
}

func (c cell) expect(t *testing.T) (because string, status int, rule string) {
	t.Helper()
	for _, r := range oracle {
		if r.when(c) {
			return r.because, r.status, r.rule
		}
	}
	t.Fatal("no reason")
	return
}
