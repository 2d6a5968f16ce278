package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mintmark/admin"
)

// TestInterrupted: while an account does not answer, it is said whom is waited
// for, and an interruption says so and not what broke.
func TestInterrupted(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLEEXAMPLE00")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-rehearsal-account-00000000")
	dir := filepath.Join(t.TempDir(), "factory")
	if err := run(t.Context(), []string{"init", "--dir", dir, "--organization", "Example", "--name", "localhost"}, &app{out: io.Discard, err: io.Discard}); err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	over := make(chan struct{})
	// It takes the request, and never answers.
	dead := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		interrupt()
		<-over
	}))
	defer dead.Close()
	defer close(over)
	f, err := os.OpenFile(filepath.Join(dir, "mintmark.yaml"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(f, `
aws:
  targets:
    - {name: dead, account_id: "123456789012", region: eu-central-1, endpoint: %q, cas: [{issuer: issuing, mode: DEFAULT, use: none}]}
    - {name: later, account_id: "123456789012", region: eu-west-1, endpoint: %[1]q, cas: [{issuer: issuing, mode: DEFAULT, use: none}]}
`, dead.URL)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	var out, said bytes.Buffer
	err = run(ctx, []string{"aws", "plan", "--dir", dir, "--json"}, &app{out: &out, err: &said})
	if err == nil {
		t.Fatal("it ended well")
	}
	if !strings.Contains(said.String(), "asking AWS (target dead) ...\n") || strings.Contains(out.String(), "asking") {
		t.Errorf("standard output is\n%s\nand standard error\n%s", &out, &said)
	}
	if text := err.Error() + said.String() + out.String(); !strings.Contains(text, "interrupted while waiting for AWS (target dead)") || strings.Contains(text, "context canceled") || strings.Contains(text, "target later)") {
		t.Errorf("%v\n%s\n%s", err, &said, &out)
	}
}

func TestCountWords(t *testing.T) {
	for _, test := range []struct {
		counts map[string]int
		want   string
	}{{nil, ""}, {map[string]int{}, "0"}, {map[string]int{"REVOKED": 1, "ACTIVE": 2}, "2 ACTIVE, 1 REVOKED"}} {
		if got := countWords(test.counts); got != test.want {
			t.Errorf("%v: %q, want %q", test.counts, got, test.want)
		}
	}
}

func TestCAWords(t *testing.T) {
	for _, test := range []struct {
		ca          admin.AWSCA
		state, mode string
	}{
		{admin.AWSCA{Registered: true, State: "ACTIVE", Mode: "SNI_ONLY"}, "ACTIVE", "SNI_ONLY"},
		{admin.AWSCA{Wanted: "active"}, "not registered", ""},
		{admin.AWSCA{Wanted: "active", Mode: "NONE"}, "not to be registered", "NONE"},
	} {
		if state, mode := caWords(test.ca); state != test.state || mode != test.mode {
			t.Errorf("%+v: %q, %q", test.ca, state, mode)
		}
	}
}
