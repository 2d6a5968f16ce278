package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mintmark/admin"
	"mintmark/internal/access"
	"mintmark/internal/pkitest"
)

// TestTwoPersonsUnlock has a token whose PIN two people type, each a part, and beside
// it one with a PIN file: of two CAs one is away, and the server says so and serves.
func TestTwoPersonsUnlock(t *testing.T) {
	module, label, pinFile := pkitest.SoftHSM(t)
	pkitest.AddToken(t, "second")
	dir := filepath.Join(t.TempDir(), "state")
	o := InitOptions{Dir: dir, Names: []string{"localhost"}, PKCS11: "pkcs11:module-path=" + module + ";token=" + label + "?pin-source=" + pinFile}
	if err := Init(t.Context(), o, slog.New(slog.DiscardHandler), io.Discard); err != nil {
		t.Fatal(err)
	}
	editConfig(t, dir, "  tokens:\n", fmt.Sprintf("  tokens:\n    - {name: second, uri: \"pkcs11:module-path=%s;token=second\", pin: {operators: 2}}\n", module))
	withServer(t, dir, func(s *Server) {
		if err := s.startTokens(); err != nil {
			t.Fatal(err)
		}
		as := func(name string) *admin.Client {
			return admin.New(admin.InProcess(s.admin(func(*http.Request) (access.Principal, bool, error) {
				return access.Principal{Name: name, Roles: []access.Role{access.Operator, access.Officer}}, true, nil
			})))
		}
		leg := func() admin.HSMLeg {
			t.Helper()
			list, err := as("olga").HSM(t.Context())
			if err != nil || len(list) != 2 || list[0].Name != "second" || list[1].Name != "factory" {
				t.Fatalf("tokens: %+v, %v", list, err)
			}
			return list[0].Legs[0]
		}
		for end := time.Now().Add(30 * time.Second); leg().State != "locked"; {
			if time.Now().After(end) {
				t.Fatalf("the token is %+v", leg())
			}
			time.Sleep(10 * time.Millisecond)
		}
		ready := func() report {
			answer := httptest.NewRecorder()
			s.newReadiness().ServeHTTP(answer, httptest.NewRequest("GET", "/readyz", nil))
			var r report
			if err := json.Unmarshal(answer.Body.Bytes(), &r); err != nil {
				t.Fatal(err)
			}
			return r
		}
		// What is issued does not need it.
		if r := ready(); r.Status != "ok" || len(r.Warnings) != 1 || r.Warnings[0] != `token "second" is locked and waits for operators` || len(r.Tested) != 1 || r.FIPS140.Version == "" {
			t.Errorf("ready: %+v", r)
		}
		status, err := as("olga").Status(t.Context())
		if err != nil || len(status.Tokens) != 1 || !strings.Contains(status.Tokens[0], "0 of 2 parts of the PIN were typed: mintmark hsm unlock second") {
			t.Errorf("status: %q, %v", status.Tokens, err)
		}

		spec := admin.AuthoritySpec{Name: "line-2", Issuer: "root", Subject: admin.Name{CommonName: "Line 2"}, ValiditySeconds: 86400, KeyURI: "pkcs11:token=second;object=line-2"}
		var refused *admin.Error
		if _, err := as("olga").CreateAuthority(t.Context(), spec); !errors.As(err, &refused) || refused.Status != http.StatusServiceUnavailable || refused.RetryAfter <= 0 {
			t.Errorf("a CA in a locked token: %v", err)
		}
		half := len(pkitest.SoftHSMPIN) / 2
		unlock := func(name, part string) error {
			_, err := as(name).UnlockHSM(t.Context(), "second", admin.HSMUnlock{PIN: []byte(part)})
			return err
		}
		if err := unlock("olga", pkitest.SoftHSMPIN[:half]); err != nil {
			t.Fatal(err)
		}
		if l := leg(); l.PartsTyped != 1 || l.PartsNeeded != 2 || l.State != "locked" {
			t.Errorf("after one part: %+v", l)
		}
		if err := unlock("olga", pkitest.SoftHSMPIN[half:]); !errors.As(err, &refused) || refused.Status != http.StatusConflict || refused.Rule != "hsm" {
			t.Errorf("one person typed both parts: %v", err)
		}
		if err := unlock("alice", pkitest.SoftHSMPIN[half:]); err != nil {
			t.Fatal(err)
		}
		if l := leg(); l.State != "ready" {
			t.Errorf("after both parts: %+v", l)
		}
		if _, err := as("olga").CreateAuthority(t.Context(), spec); err != nil {
			t.Error(err)
		}
		families, err := s.registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		states := make(map[string]bool)
		for _, f := range families {
			if f.GetName() != "mintmark_token_state" {
				continue
			}
			for _, m := range f.GetMetric() {
				text := fmt.Sprint(m.GetLabel())
				for _, name := range []string{"second", "factory"} {
					if m.GetGauge().GetValue() == 1 && strings.Contains(text, name) && strings.Contains(text, "ready") {
						states[name] = true
					}
				}
			}
		}
		if len(states) != 2 {
			t.Errorf("metrics say ready of %v", states)
		}

		// Whoever may make a CA cannot have the server load a library or read a file.
		for uri, want := range map[string]string{
			"pkcs11:module-path=/tmp/evil.so;token=evil;object=x?pin-source=/etc/passwd": "keys.tokens",
			"pkcs11:module-path=/tmp/evil.so;token=factory;object=x":                     "module",
			"pkcs11:token=factory;object=x?pin-source=/etc/passwd":                       "pin-source",
			"pkcs11:token=factory;object=x?pin-value=987654":                             "PIN",
		} {
			evil := spec
			evil.Name, evil.KeyURI = "evil", uri
			if _, err := as("olga").CreateAuthority(t.Context(), evil); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "987654") {
				t.Errorf("%s: %v, want %q", uri, err, want)
			}
		}
	})
	// No part of the PIN is on disk but in its file.
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		if content := pkitest.ReadFile(t, path); strings.Contains(string(content), pkitest.SoftHSMPIN) {
			t.Errorf("%s has the PIN", path)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
