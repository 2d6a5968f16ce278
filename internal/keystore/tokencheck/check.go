// Package tokencheck tries a PKCS#11 token out, for the person who sets it up: whether
// it can be reached and logged in to, whether its keys are what a CA key must be,
// whether its signatures verify, and how many it makes.
//
// It goes the way that a server goes, through package token.
package tokencheck

import (
	"cmp"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"mintmark/internal/keystore/token"
	"mintmark/internal/keystore/token/wire"
)

// Config says what to check; fields without a default must be set.
type Config struct {
	Module string // absolute path
	Token  wire.Selector
	// ID and Label name the key to judge; both empty for none.
	ID, Label []byte
	// PIN of the token; it is not wiped.
	PIN []byte
	// Make has a key of this kind (P-256) made, tried and destroyed, in place of
	// the one that ID and Label name; empty for none.
	Make string
	// Sessions is how many are used at a time; 4 if zero.
	Sessions int
	// Measure is how long signatures are counted, with one session and with all.
	Measure time.Duration
	// Logger must be set.
	Logger *slog.Logger
	// Report is called with each line as it is known; may be nil.
	Report func(Line)
}

// Result is what became of one check.
type Result string

// The results.
const (
	OK      Result = "ok"
	Warning Result = "warning"
	Failed  Result = "failed"
)

// Line is one check and what became of it.
type Line struct {
	Check  string `json:"check"`
	Result Result `json:"result"`
	Text   string `json:"text"`
}

// Rate is how many signatures were made at a time.
type Rate struct {
	Sessions  int     `json:"sessions"`
	PerSecond float64 `json:"per_second"`
}

// Report is the outcome.
type Report struct {
	Passed bool   `json:"passed"`
	Lines  []Line `json:"checks"`
	Rates  []Rate `json:"rates,omitempty"`
}

// settleTimeout bounds how long the token may take to be found and logged in to, and
// destroyTimeout the end of the key that was made.
const (
	settleTimeout  = 30 * time.Second
	destroyTimeout = 30 * time.Second
)

// check is a run of the checks.
type check struct {
	Config
	token *token.Token
	out   Report
}

// Run checks a token. What is wrong with the token is in the report; the error is for
// what kept the checks from being made at all. The PIN is tried once.
func Run(ctx context.Context, c Config) (Report, error) {
	if c.Sessions == 0 {
		c.Sessions = 4
	}
	t, err := token.Open(token.Config{
		Name: nameOf(c.Token), Sessions: c.Sessions, KeepAlive: -1, Logger: c.Logger,
		NoServer: true,
		Primary: token.Source{Module: c.Module, Token: c.Token, PIN: func() ([]byte, string, error) {
			return append([]byte(nil), c.PIN...), "typed", nil
		}},
	})
	if err != nil {
		return Report{}, err
	}
	defer t.Close()
	k := &check{Config: c, token: t, out: Report{Passed: true, Lines: []Line{}}}
	if err := k.run(ctx); err != nil {
		return k.out, err
	}
	return k.out, ctx.Err()
}

// nameOf is what errors call the token.
func nameOf(s wire.Selector) string {
	name := cmp.Or(s.Label, s.Serial)
	if name == "" && s.Slot != nil {
		name = fmt.Sprintf("slot %d", *s.Slot)
	}
	return cmp.Or(name, "of the module")
}

func (k *check) say(what string, r Result, format string, args ...any) {
	line := Line{what, r, fmt.Sprintf(format, args...)}
	k.out.Lines = append(k.out.Lines, line)
	if r == Failed {
		k.out.Passed = false
	}
	if k.Report != nil {
		k.Report(line)
	}
}

func (k *check) failed(what string, err error) { k.say(what, Failed, "%s", explained(err.Error())) }

func (k *check) run(ctx context.Context) error {
	leg, err := k.settle(ctx)
	if err != nil {
		return err
	}
	if leg.Token.Label != "" || leg.Token.Serial != "" {
		k.describe(leg.Token)
	}
	if leg.State != token.Ready {
		k.say("login", Failed, "the token is %s: %s", leg.State, explained(leg.Detail))
		return nil
	}
	k.say("login", OK, "the PIN was taken, and %d sessions are open", leg.Token.Sessions)
	if leg.Token.Sessions < k.Sessions {
		k.say("sessions", Warning, "the token has %d sessions for us, of %d asked for", leg.Token.Sessions, k.Sessions)
	}
	signer := k.key(ctx)
	if signer == nil {
		return nil
	}
	if k.Make != "" {
		defer k.destroy(ctx, signer.Public())
	}
	if k.signs(signer) {
		k.measure(ctx, signer, 1)
		if k.Sessions > 1 {
			k.measure(ctx, signer, k.Sessions)
		}
	}
	return nil
}

// settle has the token found and logged in to, and returns how it is then.
func (k *check) settle(ctx context.Context) (token.LegStatus, error) {
	if err := k.token.Start(); err != nil {
		return token.LegStatus{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		leg := k.token.Status().Legs[0]
		if leg.State != token.Idle && leg.State != token.Opening {
			return leg, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return leg, nil
			}
			return leg, ctx.Err()
		}
	}
}

// Flags of CK_TOKEN_INFO (PKCS #11 v2.40, base specification, Section 3.2).
const (
	ckfWriteProtected     = 0x00000002
	ckfLoginRequired      = 0x00000004
	ckfUserPINCountLow    = 0x00010000
	ckfUserPINFinalTry    = 0x00020000
	ckfUserPINLocked      = 0x00040000
	ckfUserPINToBeChanged = 0x00080000
	ckfErrorState         = 0x01000000
)

// describe says what the library says of the token, and what its flags mean.
func (k *check) describe(t wire.Token) {
	k.say("token", OK, "%q, serial %q, %s %s, in slot %d; library %s %s, PKCS#11 %s",
		t.Label, t.Serial, t.Manufacturer, t.Model, t.Slot, t.Library, t.LibraryVersion, t.Cryptoki)
	for _, f := range []struct {
		flag   uint
		set    bool // what is worth a line
		result Result
		text   string
	}{
		{ckfLoginRequired, false, Warning, "CKF_LOGIN_REQUIRED is not set: whoever reaches the library signs without a PIN"},
		{ckfUserPINCountLow, true, Warning, "CKF_USER_PIN_COUNT_LOW: the last PIN that was tried was wrong"},
		{ckfUserPINFinalTry, true, Warning, "CKF_USER_PIN_FINAL_TRY: one more wrong PIN locks the token"},
		{ckfUserPINLocked, true, Failed, "CKF_USER_PIN_LOCKED: the security officer of the token must set a new PIN"},
		{ckfUserPINToBeChanged, true, Warning, "CKF_USER_PIN_TO_BE_CHANGED: the PIN is the one that the token was made with"},
		{ckfErrorState, true, Failed, "CKF_ERROR_STATE: the token has failed a self-test"},
	} {
		if (t.Flags&f.flag != 0) == f.set {
			k.say("flags", f.result, "%s", f.text)
		}
	}
	if k.Make != "" && t.Flags&ckfWriteProtected != 0 {
		k.say("flags", Warning, "CKF_WRITE_PROTECTED: no key can be made in the token")
	}
}

// key makes a key or finds the one that was named, and judges it; nil if there is none
// to go on with.
func (k *check) key(ctx context.Context) *token.Signer {
	if k.Make != "" {
		id := make([]byte, 8)
		rand.Read(id)
		label := []byte("mintmark-check-" + strings.ToLower(rand.Text()[:8]))
		signer, err := k.token.Create(ctx, token.KeyName{ID: id, Label: label}, k.Make)
		if err != nil {
			k.failed("key", fmt.Errorf("making a key of kind %s: %w", k.Make, err))
			return nil
		}
		k.say("key", OK, "a key of kind %s was made; read back, its attributes are those of a CA key", k.Make)
		return signer
	}
	if len(k.ID) == 0 && len(k.Label) == 0 {
		k.say("key", Warning, "no key is named and none was to be made: neither attributes nor signatures were checked")
		return nil
	}
	name := token.KeyName{ID: k.ID, Label: k.Label}
	signer, err := k.token.Signer(ctx, name, true)
	if errors.Is(err, token.ErrPolicy) {
		k.failed("key", err)
		// What it is worth as a key can be tried all the same.
		if signer, err = k.token.Signer(ctx, name, false); err != nil {
			return nil
		}
		return signer
	}
	if errors.Is(err, token.ErrNotFound) {
		k.say("key", Failed, "no key with %s in token %q", k.wanted(), nameOf(k.Token))
		return nil
	}
	if err != nil {
		k.failed("key", err)
		return nil
	}
	k.say("key", OK, "the key is there, and its attributes are those of a CA key")
	for _, problem := range k.token.Status().Legs[0].Problems {
		k.say("key", Warning, "%s", explained(problem))
	}
	return signer
}

// wanted is what names the key, as it stands in the URI.
func (k *check) wanted() string {
	var parts []string
	if len(k.ID) > 0 {
		parts = append(parts, "id=%"+strings.ReplaceAll(fmt.Sprintf("% x", k.ID), " ", "%"))
	}
	if len(k.Label) > 0 {
		parts = append(parts, fmt.Sprintf("object=%q", k.Label))
	}
	return strings.Join(parts, ";")
}

// signs makes one signature and verifies it.
func (k *check) signs(signer *token.Signer) bool {
	message := make([]byte, 32)
	rand.Read(message)
	signature, err := crypto.SignMessage(signer, rand.Reader, message, crypto.SHA256)
	if err != nil {
		k.failed("signature", err)
		return false
	}
	if err := verify(signer.Public(), message, signature); err != nil {
		k.say("signature", Failed, "the signature does not verify: %v", err)
		return false
	}
	k.say("signature", OK, "a signature was made and verifies")
	return true
}

func verify(public crypto.PublicKey, message, signature []byte) error {
	algorithm := x509.ECDSAWithSHA256
	if _, ok := public.(interface{ Size() int }); ok { // *rsa.PublicKey
		algorithm = x509.SHA256WithRSA
	}
	return (&x509.Certificate{PublicKey: public}).CheckSignature(algorithm, message, signature)
}

// destroy removes the key that was made, also when the check was interrupted.
func (k *check) destroy(ctx context.Context, public crypto.PublicKey) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), destroyTimeout)
	defer cancel()
	name := token.KeyName{Public: public}
	if err := k.token.Destroy(ctx, name); err != nil {
		k.failed("destroy", fmt.Errorf("the key that was made is still there: %w", err))
		return
	}
	if _, err := k.token.Signer(ctx, name, false); !errors.Is(err, token.ErrNotFound) {
		k.say("destroy", Failed, "the key that was made was destroyed and is still found: %v", err)
		return
	}
	k.say("destroy", OK, "the key that was made is gone")
}
