package server

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mintmark/ca"
	"mintmark/internal/config"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
	"mintmark/issuer/est"
)

// onWrite runs a function when something is written.
type onWrite func()

func (f onWrite) Write(p []byte) (int, error) {
	f()
	return len(p), nil
}

// start serves a state directory until it listens and returns why it did not.
func start(t *testing.T, dir string) error {
	t.Helper()
	c, err := config.Load(dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s, err := Open(ctx, c, Options{Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler), Out: onWrite(cancel)})
	if err != nil {
		return err
	}
	return errors.Join(s.Serve(ctx), s.Close())
}

// TestStartRefusals breaks a state directory and wants the server to say which
// field of which file is wrong, and not to start.
func TestStartRefusals(t *testing.T) {
	const yaml = "mintmark.yaml"
	for _, tt := range []struct {
		name string
		harm func(t *testing.T, dir string)
		want []string // parts of the error
	}{
		{"nothing", func(*testing.T, string) {}, nil},
		{"unknown key", func(t *testing.T, dir string) {
			editConfig(t, dir, "public_url:", "publik_url:")
		}, []string{yaml, "publik_url"}},
		{"unknown key inside", func(t *testing.T, dir string) {
			editConfig(t, dir, "    validity: 730d", "    vality: 730d")
		}, []string{yaml, "vality"}},
		{"bad value", func(t *testing.T, dir string) {
			editConfig(t, dir, "    validity: 730d", "    validity: 10s")
		}, []string{yaml, `profile "device"`, "validity"}},
		{"no configuration", func(t *testing.T, dir string) {
			os.Remove(filepath.Join(dir, yaml))
		}, []string{yaml, "mintmark init"}},
		{"exchanged keys", func(t *testing.T, dir string) {
			root, issuing := filepath.Join(dir, "keys", "root.pem"), filepath.Join(dir, "keys", "issuing.pem")
			swap(t, root, issuing)
		}, []string{yaml, "labels[0].issuer", `authority "issuing"`, "keys/issuing.pem", "not the key of the CA certificate"}},
		{"passphrase that others read", func(t *testing.T, dir string) {
			chmod(t, filepath.Join(dir, "secrets", "passphrase"), 0o440)
		}, []string{yaml, "keys.passphrase_file", "secrets/passphrase", "can be read by others", "0440"}},
		{"no passphrase", func(t *testing.T, dir string) {
			os.Remove(filepath.Join(dir, "secrets", "passphrase"))
		}, []string{yaml, "keys.passphrase_file", "secrets/passphrase"}},
		{"label of a missing authority", func(t *testing.T, dir string) {
			editConfig(t, dir, "    profile: device\n    issuer: issuing", "    profile: device\n    issuer: line-9")
		}, []string{yaml, "labels[0].issuer", `"line-9"`, "mintmark ca create"}},
		{"server certificate of a missing authority", func(t *testing.T, dir string) {
			editConfig(t, dir, "tls:\n  issuer: issuing", "tls:\n  issuer: line-9")
		}, []string{yaml, "tls.issuer", `"line-9"`, "mintmark ca create"}},
		{"maker's anchors missing", func(t *testing.T, dir string) {
			editConfig(t, dir, "    own: [device]", "    maker: {anchors: maker.pem, device: serialNumber}\n    own: [device]")
		}, []string{yaml, "labels[0].maker.anchors", "maker.pem"}},
		{"another server's log", func(t *testing.T, dir string) {
			editConfig(t, dir, "server: mintmark\n", "server: other\n")
		}, []string{"log", `"mintmark"`, `"other"`}},
		{"log is gone", func(t *testing.T, dir string) {
			for _, file := range glob(t, dir, "log/*") {
				os.Remove(file)
			}
		}, []string{"issuance log", "lost"}},
		{"database is gone", func(t *testing.T, dir string) {
			for _, file := range glob(t, dir, "ledger.db*") {
				os.Remove(file)
			}
		}, []string{"database is older than its issuance log"}},
		{"foreign owner", func(t *testing.T, dir string) {
			if os.Getuid() != 0 {
				t.Skip("only root can give a directory away")
			}
			if err := os.Chown(dir, 65534, -1); err != nil {
				t.Fatal(err)
			}
		}, []string{"belongs to uid 65534", "run as its owner"}},
		{"busy", func(t *testing.T, dir string) {
			s := openLocal(t, dir, io.Discard)
			t.Cleanup(func() { s.Close() })
		}, []string{"in use by another process"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := newState(t)
			tt.harm(t, dir)
			err := start(t, dir)
			if tt.want == nil {
				if err != nil {
					t.Fatalf("a sound directory: %v", err)
				}
				return
			}
			if err == nil {
				t.Fatal("the server started")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

func swap(t *testing.T, a, b string) {
	t.Helper()
	x, y := pkitest.ReadFile(t, a), pkitest.ReadFile(t, b)
	if err := errors.Join(os.WriteFile(a, y, 0o600), os.WriteFile(b, x, 0o600)); err != nil {
		t.Fatal(err)
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func glob(t *testing.T, dir, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %v, %v", pattern, files, err)
	}
	return files
}

// TestShortLivedIssuer serves a label whose issuing CA expires before its
// certificates would: that label answers 503, the others work.
func TestShortLivedIssuer(t *testing.T) {
	dir := newState(t)
	s := openLocal(t, dir, io.Discard)
	zero := 0
	_, err := s.ra.CreateAuthority(t.Context(), issuer.AuthoritySpec{
		Spec: ca.Spec{Name: "old", Subject: pkix.Name{CommonName: "Old Issuing CA"}, Validity: 30 * 24 * time.Hour, PathLen: &zero},
		Key:  ca.P256, Issuer: "root",
	}, ledger.Requester{Kind: "admin", Name: "test"})
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	editConfig(t, dir, "    own: [device]", "    own: [device]\n  - name: old\n    profile: device\n    issuer: old\n    authorize: trusted\n    own: [device]")
	text := string(pkitest.ReadFile(t, filepath.Join(dir, config.File)))
	passwords := text[strings.Index(text, "    passwords:"):strings.Index(text, "    own: [device]")]
	editConfig(t, dir, "    issuer: old\n", "    issuer: old\n"+passwords)

	server := serveLocal(t, dir, nil)
	client := newClient(t, dir, server.est)
	old := newClient(t, dir, server.est)
	old.Label = "old"
	var status *est.StatusError
	_, err = old.Enroll(t.Context(), newDevice(t, "press-1").csr)
	if !errors.As(err, &status) || status.Code != 503 || status.RetryAfter == 0 || !strings.HasPrefix(status.Text, "refused by rule label-disabled: ") {
		t.Errorf("the label of a short-lived issuing CA: %v", err)
	}
	if anchors, err := old.CACerts(t.Context()); err != nil || len(anchors) != 2 {
		t.Errorf("its cacerts: %v", err)
	}
	if _, err := client.Enroll(t.Context(), newDevice(t, "press-1").csr); err != nil {
		t.Errorf("the other label: %v", err)
	}
	code, body := get(t, "http://"+server.metrics+"/readyz")
	if code != 503 || !strings.Contains(body, `label \"old\"`) || strings.Contains(body, `label \"\"`) {
		t.Errorf("/readyz: %d %s", code, body)
	}
	if code, body := get(t, "http://"+server.metrics+"/healthz"); code != 200 {
		t.Errorf("/healthz: %d %s", code, body)
	}
	_, page := get(t, "http://"+server.metrics+"/metrics")
	if !strings.Contains(page, `mintmark_label_usable{label="old"} 0`) || !strings.Contains(page, `mintmark_label_usable{label=""} 1`) {
		t.Error("mintmark_label_usable does not tell")
	}
}

// TestKeyAway starts a server without the issuing key, which then comes back.
// Once open, a key in a file stays open: taking the file away does nothing to
// a running server.
func TestKeyAway(t *testing.T) {
	t.Parallel() // it waits for a probe that counts for seconds
	dir := newState(t)
	key := filepath.Join(dir, "keys", "issuing.pem")
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	move(key, key+".away")
	server := serveLocal(t, dir, nil)
	client := newClient(t, dir, server.est)
	ready := func() int {
		code, _ := get(t, "http://"+server.metrics+"/readyz")
		return code
	}
	d := newDevice(t, "press-1")
	var status *est.StatusError
	_, err := client.Enroll(t.Context(), d.csr)
	if !errors.As(err, &status) || status.Code != http.StatusServiceUnavailable || status.RetryAfter == 0 || !strings.HasPrefix(status.Text, "refused by rule signer: ") {
		t.Errorf("without the key: %v", err)
	} else {
		inside(t, status.Text, dir)
	}
	if anchors, err := client.CACerts(t.Context()); err != nil || len(anchors) != 2 {
		t.Errorf("cacerts without the key: %v", err)
	}
	if code, body := get(t, "http://"+server.http+"/crl/issuing.crl"); code != 200 {
		t.Errorf("CRL without the key: %d %s", code, body)
	}
	code, body := get(t, "http://"+server.metrics+"/readyz")
	if code != 503 || !strings.Contains(body, `"issuer issuing"`) {
		t.Errorf("/readyz without the key: %d %s", code, body)
	}
	if code, body := get(t, "http://"+server.metrics+"/healthz"); code != 200 {
		t.Errorf("/healthz without the key: %d %s", code, body)
	}

	move(key+".away", key)
	if _, err := client.Enroll(t.Context(), d.csr); err != nil {
		t.Errorf("with the key back: %v", err)
	}
	eventually(t, "/readyz turns green", func() bool { return ready() == 200 })

	move(key, key+".away")
	if _, err := client.Enroll(t.Context(), newDevice(t, "press-2").csr); err != nil {
		t.Errorf("with the key open and its file away: %v", err)
	}
	server.stop()
	for _, r := range records(t, dir) {
		if r.State == ledger.Open {
			t.Errorf("intent %s of %s is open", r.Serial, r.Device)
		}
	}
}

// TestNoServerCertificate starts a server that has no certificate of its own
// and no key to make one. EST begins to work when the key comes.
func TestNoServerCertificate(t *testing.T) {
	t.Parallel()
	dir := newState(t)
	key := filepath.Join(dir, "keys", "issuing.pem")
	if err := errors.Join(os.Rename(key, key+".away"), os.Remove(filepath.Join(dir, "tls", "server.pem"))); err != nil {
		t.Fatal(err)
	}
	server := serveLocal(t, dir, nil)
	client := newClient(t, dir, server.est)
	if _, err := client.CACerts(t.Context()); err == nil || errors.As(err, new(*est.StatusError)) {
		t.Errorf("a server without a certificate answers: %v", err)
	}
	if code, body := get(t, "http://"+server.http+"/crl/issuing.crl"); code != 200 {
		t.Errorf("CRL: %d %s", code, body)
	}
	if err := os.Rename(key+".away", key); err != nil {
		t.Fatal(err)
	}
	var anchors []*x509.Certificate
	eventually(t, "EST is served", func() (ok bool) {
		var err error
		anchors, err = client.CACerts(t.Context())
		return err == nil
	})
	if len(anchors) != 2 {
		t.Errorf("%d anchors", len(anchors))
	}
}
