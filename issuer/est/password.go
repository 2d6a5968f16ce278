package est

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"log/slog"
	"net/http"

	"mintmark/internal/ledger"
	"mintmark/issuer"
)

// decoy takes the place of an unknown user's secret, so that unknown users and
// wrong secrets take the same path.
var decoy = func() [][32]byte {
	var d [32]byte
	rand.Read(d[:])
	return [][32]byte{d}
}()

// byPassword authenticates by HTTP Basic: RFC 7030, Section 3.2.3. The secret
// is a shared password, the one-time secret of the device that is the user, or a
// work order's. Whatever is wrong, the answer is the same 401; only the log says
// more.
func (h *Handler) byPassword(x *exchange) (identity, error) {
	user, secret, ok := x.r.BasicAuth()
	if !ok {
		return identity{}, fail(http.StatusUnauthorized, ruleNoCredential, "neither an acceptable TLS client certificate nor a password")
	}
	if x.label.Authorize == issuer.ByOrder {
		return h.byOrder(x, user, secret)
	}
	sum := sha256.Sum256([]byte(secret))
	hashes, known := x.label.secrets[user]
	if !known {
		hashes = decoy
	}
	match := 0
	for _, want := range hashes {
		match |= subtle.ConstantTimeCompare(sum[:], want[:])
	}
	right := known && match == 1
	who := identity{requester: ledger.Requester{Kind: "password", Name: user, Address: x.peer}}
	x.who = ledger.Requester{Kind: "password", Name: shorten(user), Address: x.peer}
	if !right && x.label.OneTime {
		// Users that the label names come this way, too, so that the time does not
		// tell them from devices and from nobody.
		device, err := h.authority.DeviceSecret(x.r.Context(), user, secret)
		var refusal *issuer.Refusal
		switch {
		case err == nil:
			known, right = true, true
			who.requester.Kind, who.device, who.secret = "secret", device.Device, device.SHA256
			x.who.Kind = "secret"
		case !errors.As(err, &refusal) || refusal.Kind != issuer.Unauthenticated:
			return identity{}, err
		case !errors.Is(err, ledger.ErrNotFound):
			known = true
			x.who.Kind, x.device = "secret", user
		}
	}
	if f := h.attempt(x, user, known, right); f != nil {
		return identity{}, f
	}
	return who, nil
}

// attempt counts a wrong secret and refuses it, and from an address of too many
// of them the right one, too.
func (h *Handler) attempt(x *exchange, user string, known, right bool) *failure {
	now := h.now()
	source, account := sourceKey(x.peer), attemptKey{label: x.label.Name}
	if known {
		account.user, account.known = user, true
	}
	account = account.at(source)
	switch {
	case h.attempts.locked(now, source), !right && h.attempts.locked(now, account):
		x.note(slog.String("user", shorten(user)), slog.Bool("right", right))
		return fail(http.StatusUnauthorized, ruleAttempts, "too many wrong passwords")
	case !right:
		h.attempts.failed(now, account)
		// A device with an old secret does not stop the line that it is in.
		if !h.limits.station(x.peer) {
			h.attempts.failed(now, source)
		}
		x.note(slog.String("user", shorten(user)), slog.Bool("known", known))
		return fail(http.StatusUnauthorized, ruleCredential, "unknown user or wrong password")
	}
	return nil
}

// shorten bounds what a stranger can write into the log.
func shorten(s string) string {
	if len(s) > 64 {
		return s[:64] + "..."
	}
	return s
}
